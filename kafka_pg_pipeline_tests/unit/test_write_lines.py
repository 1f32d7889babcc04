r"""Rows to lines: CSV where it can say it, TEXT elsewhere; what either says is the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_pg_pipeline.domain.copy_text import CopyFormat, write_item
from kafka_pg_pipeline.domain.records import Reason
from kafka_pg_pipeline.domain.verdicts import Unfit
from kafka_pg_pipeline.pipeline.write_lines import write_lines

items = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    st.sampled_from(
        ["null", r"\N", r"\.", '"', "\\", ",", "]\n[", "],[", '"\n"', "\x7f", "\u2028"]
    ),
)


@given(st.lists(st.tuples(items, items), min_size=1, max_size=5))
def test_what_is_written_is_what_was_given(rows):
    lines = write_lines(rows)
    assert list(lines) == ["\t".join(map(write_item, row)) for row in rows]
    assert len(lines) == lines.payload().count(b"\n") == len(rows)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_reads_as_it_is_written_by_itself(number):
    assert list(write_lines([(number,)])) == [write_item(number)]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_keeps_its_value(number):
    (line,) = write_lines([(number,)])
    assert float(line) == number
    assert line.startswith("-") == str(number).startswith("-")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", CopyFormat.CSV),
        ('quotes " and \\ backslashes', CopyFormat.CSV),
        ("\\n as two characters", CopyFormat.CSV),
        ("a tab\t", CopyFormat.TEXT),
        ("a line\nend", CopyFormat.TEXT),
        ("\\\n", CopyFormat.TEXT),
        ("\x01", CopyFormat.TEXT),
        ("\x7f\x85", CopyFormat.CSV),
    ],
)
def test_only_what_csv_cannot_say_is_written_as_text(text, expected):
    assert write_lines([(1, text)]).format is expected


@pytest.mark.parametrize(
    ("text", "reason"), [("\0", Reason.NUL_CHARACTER), ("\ud800", Reason.LONE_SURROGATE)]
)
def test_what_postgresql_cannot_hold_is_refused(text, reason):
    with pytest.raises(Unfit) as refused:
        write_lines([("a",), (text,)])
    assert refused.value.reason is reason
