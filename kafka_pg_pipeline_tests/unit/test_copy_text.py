"""Lines for COPY, in its two formats."""

import pytest

from kafka_pg_pipeline.domain.copy_text import (
    CopyFormat,
    CsvLines,
    TextLines,
    escape,
    join_lines,
    write_item,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, r"\N"),
        ("", ""),
        (r"\N", r"\\N"),
        (r"\.", r"\\."),
        ("a\tb\nc\rd\\e", r"a\tb\nc\rd\\e"),
        ("\b\f\v\x7f\x85\u2028", "\b\f\v\x7f\x85\u2028"),
        ("tschüss 😀", "tschüss 😀"),
    ],
)
def test_what_copy_would_read_as_something_else_is_escaped(text, expected):
    assert escape(text) == expected


@pytest.mark.parametrize(
    ("item", "expected"), [(None, r"\N"), ("a\tb", r"a\tb"), (7, "7"), (1.5, "1.5"), (True, "True")]
)
def test_an_item_is_written_as_text(item, expected):
    assert write_item(item) == expected


def test_a_payload_ends_each_line_and_is_utf8():
    assert TextLines(["a\tb", "ü"]).payload() == b"a\tb\n\xc3\xbc\n"


def test_an_empty_line_is_a_row():
    assert TextLines([""]).payload() == b"\n"


def test_no_lines_are_no_payload():
    assert TextLines([]).payload() == CsvLines([], 0).payload() == b""


TEXT = TextLines(["1\ta", "2\t\\N", "3\t\\\\ü"])
CSV = CsvLines([b'1,"a"\n2,null\n', b'3,"\\\\\xc3\xbc"\n'], 3)


def test_lines_of_both_formats_read_as_text():
    assert list(CSV) == list(TEXT) == ["1\ta", "2\t\\N", "3\t\\\\ü"]


@pytest.mark.parametrize("lines", [TEXT, CSV])
def test_lines_can_be_had_one_by_one_and_in_ranges(lines):
    assert len(lines) == 3
    assert lines[1] == "2\t\\N"
    assert lines[-1] == "3\t\\\\ü"
    assert list(lines[1:]) == ["2\t\\N", "3\t\\\\ü"]
    assert list(lines.pick([2, 0])) == ["3\t\\\\ü", "1\ta"]
    assert not lines[3:]
    assert lines[3:].payload() == b""


@pytest.mark.parametrize("lines", [TEXT, CSV])
def test_a_part_of_lines_is_of_their_format(lines):
    assert lines[:2].format is lines.pick([0]).format is lines.format
    assert lines.prefix([1, 2, 3]).format is lines.format


def test_the_number_zero_is_no_null_and_the_word_null_is_no_null():
    assert list(CsvLines([b'0,"null",null\n'], 1)) == ["0\tnull\t\\N"]


def test_a_number_in_csv_reads_as_python_writes_it():
    assert list(CsvLines([b"1.5,12345678901234567890,1e19,-0.0\n"], 1)) == [
        "1.5\t12345678901234567890\t1e+19\t-0.0"
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (TEXT, b"7\t0\t1\ta\n8\t0\t2\t\\N\n9\t1\t3\t\\\\\xc3\xbc\n"),
        (CSV, b'7,0,1,"a"\n8,0,2,null\n9,1,3,"\\\\\xc3\xbc"\n'),
    ],
)
def test_numbers_can_stand_before_lines(lines, expected):
    assert lines.prefix([7, 8, 9], [0, 0, 1]).payload() == expected


def test_as_many_numbers_as_lines_are_wanted():
    for lines in (TEXT, CSV):
        with pytest.raises(ValueError, match="than argument 1"):
            lines.prefix([1])


@pytest.mark.parametrize("lines", [TEXT, CSV])
def test_lines_are_joined_in_their_format(lines):
    joined = join_lines([lines, lines])
    assert len(joined) == 6
    assert joined.format is lines.format
    assert joined.payload() == lines.payload() * 2


def test_there_are_two_formats():
    assert {TEXT.format, CSV.format} == set(CopyFormat)
