"""What becomes of the values that break other pipelines (cases.md, case 8), from topic to table."""

import json

import pytest

from kafka_pg_pipeline_tests.content.landing import (
    Dead,
    Fate,
    create_table,
    fates_by_offset,
    load_fates,
    one_partition,
    record_of,
)
from kafka_pg_pipeline_tests.fix_streams import Bench

COLUMNS = {
    "text": "text",
    "jsonb": "jsonb",
    "json": "json",
    "whole": "bigint",
    "exact": "numeric",
    "float": "double precision",
    "moment": "timestamptz",
}
TEXTUAL = ("text", "jsonb", "json")


def fates_of(bench: Bench, *records: tuple[str, str] | bytes | None) -> list[Fate]:
    """Fates in the table of ``COLUMNS``; a pair is a column and its field's JSON text."""
    bench.create_topic(1)
    create_table(bench, COLUMNS)
    sent = [record_of(*item) if isinstance(item, tuple) else item for item in records]
    return load_fates(bench, list(COLUMNS), sent)


def in_each(columns: tuple[str, ...], literal: str) -> list[tuple[str, str]]:
    return [(column, literal) for column in columns]


# -- text ----------------------------------------------------------------------------------------

TEXTS = [
    r"\N",
    r"\.",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "\\",
    "\\\\t",
    r"a\tb\\N\.",
    "",
    " ",
    "\b\f\v\x7f",
    "NULL",
    '"quoted"',
    "{}",
    "ünï 😀 \u2028\ufeff",
    "%s %(a)s %%",
]


def test_a_nul_character_is_a_dead_letter_alike_in_text_jsonb_and_json(bench: Bench) -> None:
    literals = (
        r'"a\u0000b"',
        r'"\u0000"',
        r'{"k": ["a\u0000b"]}',
        r'{"a\u0000b": 1}',
        r'{"k": ["\u0000"], "k": "the last wins, and hides the first"}',
    )
    records = [pair for literal in literals for pair in in_each(TEXTUAL, literal)]
    assert fates_of(bench, *records) == [
        Dead("encode", "nul_character", column) for column, _ in records
    ]


def test_a_lone_surrogate_is_a_dead_letter_alike_in_text_jsonb_and_json(bench: Bench) -> None:
    literals = (
        r'"\ud800"',
        r'"\ude00\ud83d"',
        r'{"k": ["\ud800"]}',
        r'{"\udfff": 1}',
        r'{"k": "\ud800", "k": 1}',
    )
    records = [pair for literal in literals for pair in in_each(TEXTUAL, literal)]
    assert fates_of(bench, *records) == [Dead("decode", "lone_surrogate")] * len(records)


@pytest.mark.parametrize("ensure_ascii", [True, False], ids=["with escapes", "as it is"])
def test_text_lands_byte_for_byte_whatever_copy_makes_of_its_signs(
    bench: Bench, ensure_ascii: bool
) -> None:
    literals = [json.dumps(text, ensure_ascii=ensure_ascii) for text in TEXTS]
    landed = fates_of(bench, *(pair for literal in literals for pair in in_each(TEXTUAL, literal)))
    stored = bench.query(
        "SELECT coalesce(text, jsonb #>> '{{}}', json #>> '{{}}') FROM {table}"
        " WHERE beside IS NULL ORDER BY kafka_offset"
    )
    assert stored == [(text,) for text in TEXTS for _ in TEXTUAL]
    assert landed[2::3] == [{"json": literal} for literal in literals]


def test_a_row_of_nothing_but_copys_own_signs_is_a_row(bench: Bench) -> None:
    bench = bench.with_stream(metadata={})
    bench.create_topic(1)
    bench.query("CREATE TABLE {table} (alone text)")
    bench.produce([{"alone": text} for text in TEXTS], partition=one_partition)
    assert bench.load().counts.rows == len(TEXTS)
    assert sorted(bench.query("SELECT * FROM {table}")) == sorted((text,) for text in TEXTS)


def test_bytes_that_are_no_utf8_are_a_dead_letter_of_their_column(bench: Bench) -> None:
    bad = (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80")
    records = [b'{"%s": "%s"}' % (column.encode(), text) for column in TEXTUAL for text in bad]
    assert fates_of(bench, *records) == [
        Dead("decode", "invalid_utf8", column) for column in TEXTUAL for _ in bad
    ]


# -- numbers -------------------------------------------------------------------------------------

WORDS = ("NaN", "Infinity", "-Infinity")
DECIMAL_38 = "12345678901234567890.123456789012345678"


def test_a_number_past_bigint_is_never_negative_nor_rounded(bench: Bench) -> None:
    numbers = ("9223372036854775808", "18446744073709551615", "-9223372036854775809", "1e19")
    most = "9223372036854775807"
    records = [*in_each(("whole",), most), *in_each(("whole",), f"-{numbers[0]}")]
    records += [("whole", number) for number in numbers]
    assert fates_of(bench, *records) == [
        {"whole": most},
        {"whole": f"-{numbers[0]}"},
        *[Dead("encode", "out_of_range", "whole")] * len(numbers),
    ]


def test_numeric_takes_any_number_exactly(bench: Bench) -> None:
    numbers = {
        "9223372036854775808": "9223372036854775808",
        "18446744073709551615": "18446744073709551615",
        DECIMAL_38: DECIMAL_38,
        "-0.10": "-0.10",
        "1e400": "1" + "0" * 400,
        "1e-400": "0." + "0" * 399 + "1",
        "9" * 5000: "9" * 5000,
        "0." + "7" * 5000: "0." + "7" * 5000,
    }
    records = [("exact", form) for number in numbers for form in (number, f'"{number}"')]
    assert fates_of(bench, *records) == [
        {"exact": shown} for shown in numbers.values() for _ in range(2)
    ]


def test_a_document_keeps_its_numbers(bench: Bench) -> None:
    numbers = {"18446744073709551615": "18446744073709551615", DECIMAL_38: DECIMAL_38}
    numbers |= {"1e400": "1" + "0" * 400, "9" * 5000: "9" * 5000, "1.10": "1.10"}
    records = [pair for number in numbers for pair in in_each(TEXTUAL, number)]
    assert fates_of(bench, *records) == [
        {column: shown if column == "jsonb" else number}
        for number, shown in numbers.items()
        for column in TEXTUAL
    ]


def test_a_number_that_jsonb_refuses_is_a_dead_letter_there_alone(bench: Bench) -> None:
    assert fates_of(bench, *in_each(TEXTUAL, "1e200000")) == [
        {"text": "1e200000"},
        Dead("write", "rejected_by_postgresql", "jsonb", "22003"),
        {"json": "1e200000"},
    ]


def test_a_number_past_double_precision_is_a_dead_letter_and_never_infinity(bench: Bench) -> None:
    numbers = ("1e400", "-1e400", "9" * 400, "9" * 5000)
    written = [text for number in numbers for text in (number, f'"{number}"')]
    assert fates_of(bench, *(("float", literal) for literal in written)) == [
        Dead("encode", "out_of_range", "float")
    ] * len(written)


def test_a_number_of_5000_digits_is_a_dead_letter_in_bigint(bench: Bench) -> None:
    digits = "9" * 5000
    assert (
        fates_of(bench, ("whole", digits), ("whole", f'"{digits}"'))
        == [Dead("encode", "out_of_range", "whole")] * 2
    )


def test_a_constant_that_json_does_not_know_is_a_dead_letter_in_every_column(bench: Bench) -> None:
    constants = ("NaN", "Infinity", "-Infinity", "[NaN]", '{"k": Infinity}')
    records = [pair for constant in constants for pair in in_each(tuple(COLUMNS), constant)]
    assert fates_of(bench, *records) == [Dead("decode", "invalid_json")] * len(records)


def test_not_a_number_as_a_string_is_what_postgresql_makes_of_it(bench: Bench) -> None:
    records = [(column, f'"{word}"') for column in ("exact", "float", "whole") for word in WORDS]
    assert fates_of(bench, *records) == [
        *[{"exact": word} for word in WORDS],
        *[{"float": word} for word in WORDS],
        *[Dead("encode", "wrong_type", "whole")] * len(WORDS),
    ]


def test_a_new_table_gets_columns_that_hold_what_its_sample_holds(bench: Bench) -> None:
    values = {
        "whole": "9223372036854775807",
        "unsigned": "18446744073709551615",
        "decimal": DECIMAL_38,
        "huge": "1e400",
        "long": "9" * 5000,
        "small": "0.5",
        "signs": r'"\\N"',
        "late": '"294277-01-01T00:00:00Z"',
        "mixed": "1",
    }
    fields = ", ".join(f'"{name}": {literal}' for name, literal in values.items())
    bench.create_topic(1)
    bench.produce([f"{{{fields}}}".encode(), {"mixed": "text"}], partition=one_partition)
    bench.load()
    bench.assert_exactly_once()
    assert fates_by_offset(bench, list(values)) == {
        0: {
            **values,
            "huge": "1" + "0" * 400,
            "signs": r"\N",
            "late": "294277-01-01T00:00:00Z",
        },
        1: {"mixed": "text"},
    }


# -- documents -----------------------------------------------------------------------------------


def test_of_duplicate_keys_the_last_wins_in_columns_and_documents(bench: Bench) -> None:
    twice = '{"k": 1, "k": 2}'
    fates = fates_of(
        bench,
        b'{"whole": 1, "whole": 2}',
        b'{"whole": "x", "text": "y", "whole": 3}',
        b'{"whole": 1, "whole": "x"}',
        *in_each(TEXTUAL, twice),
    )
    assert fates == [
        {"whole": "2"},
        {"whole": "3", "text": "y"},
        Dead("encode", "wrong_type", "whole"),
        {"text": twice},
        {"jsonb": '{"k": 2}'},
        {"json": twice},
    ]
    assert bench.query("SELECT json ->> 'k' FROM {table} WHERE json IS NOT NULL") == [("2",)]


def test_deep_nesting_is_a_dead_letter_wherever_it_stands(bench: Bench) -> None:
    nested = [
        opening * levels + "1" + closing * levels
        for levels in (257, 2_000, 20_000)
        for opening, closing in ("[]", ('{"a":', "}"))
    ]
    places = (*COLUMNS, "no column")
    records = [pair for literal in nested for pair in in_each(places, literal)]
    assert fates_of(bench, *records) == [Dead("decode", "too_deep")] * len(records)


def test_white_space_between_tokens_is_kept_where_the_type_keeps_it(bench: Bench) -> None:
    spaced = '{\t"a" :\r\n[1 ,\t2]\n}'
    assert fates_of(bench, *in_each(TEXTUAL, spaced)) == [
        {"text": spaced},
        {"jsonb": '{"a": [1, 2]}'},
        {"json": spaced},
    ]


def test_256_levels_land_in_text_jsonb_and_json(bench: Bench) -> None:
    nested = "[" * 255 + "1" + "]" * 255  # the record itself is one level
    assert fates_of(bench, *in_each(TEXTUAL, nested)) == [{column: nested} for column in TEXTUAL]


def test_a_byte_order_mark_is_passed_over(bench: Bench) -> None:
    assert fates_of(bench, b'\xef\xbb\xbf{"text": "a", "whole": 1}') == [
        {"text": "a", "whole": "1"}
    ]


def test_what_is_no_json_object_is_a_dead_letter(bench: Bench) -> None:
    assert fates_of(bench, b"", b" ", b"{", b"null", b"[]", b'"text"', b"1", b"\xff\xfe{\0}\0") == [
        *[Dead("decode", "invalid_json")] * 3,
        *[Dead("decode", "not_an_object")] * 4,
        Dead("decode", "invalid_utf8"),
    ]


def test_a_tombstone_is_a_row_of_nulls_and_an_empty_value_is_none(bench: Bench) -> None:
    assert fates_of(bench, None, b"") == [{}, Dead("decode", "invalid_json")]
    assert bench.query("SELECT value FROM {schema}.dead_letter")[0][0].tobytes() == b""


def test_a_tombstone_that_a_column_refuses_is_a_dead_letter_without_a_value(bench: Bench) -> None:
    bench.create_topic(1)
    create_table(bench, {"needed": "text NOT NULL DEFAULT 'kept'", "other": "text"})
    bench.query("ALTER TABLE {table} ALTER needed DROP DEFAULT")
    bench.produce([{"needed": "a"}, None, {"needed": "b"}], partition=one_partition)
    bench.load()
    bench.assert_exactly_once()
    assert fates_by_offset(bench, ["needed", "other"]) == {
        0: {"needed": "a"},
        1: Dead("encode", "missing_value", "needed"),
        2: {"needed": "b"},
    }
    assert bench.query("SELECT value FROM {schema}.dead_letter") == [(None,)]
