"""The types under test: what is well formed for them, and where they read JSON their own way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from kafka_pg_pipeline_tests.content.literals import (
    Literals,
    anything,
    arrays,
    documents,
    numbers,
    one_of_strings,
    scalars,
    strings,
)
from kafka_pg_pipeline_tests.content.oracle import SAID


def never(_: str) -> bool:
    return False


def is_number(literal: str) -> bool:
    return literal[0] in "-0123456789"


def is_composite(literal: str) -> bool:
    """To PostgreSQL brackets are punctuation in a date: ["2023-11-14"] is one."""
    return literal[0] in "[{"


def is_no_string(literal: str) -> bool:
    return literal[0] != '"'


def is_spelled_as_in_a_program(literal: str) -> bool:
    """0x1F and 1_000: which of them PostgreSQL takes depends on its version."""
    return literal[0] == '"' and not set("_xXoObB").isdisjoint(literal)


def has_no_such_places(literal: str) -> bool:
    """More places than numeric has: a type modifier would round them away, which we do not."""
    return is_spelled_as_in_a_program(literal) or (
        is_number(literal) and Decimal(literal).as_tuple().exponent < -16_383
    )


def has_lists_inside(literal: str) -> bool:
    """Lists beside other elements are no second dimension; PostgreSQL makes text of them."""
    return "[" in literal[1:]


@dataclass(frozen=True)
class Kind:
    """A PostgreSQL type; ``own.`` in its name stands for the test's own schema.

    ``good`` must land. ``readings`` say in SQL where JSON is read otherwise than by
    ``json_populate_record`` (see ``oracle``). ``stricter`` tells the literals that may be a dead
    letter though PostgreSQL would make something of them.
    """

    type: str
    good: tuple[str, ...]
    shaped: Literals
    readings: Mapping[str, str] = field(default_factory=dict)
    stricter: Callable[[str], bool] = never
    shown: str = "v::text"
    made_by: str | None = None

    @property
    def literals(self) -> Literals:
        return st.one_of(self.shaped, self.shaped, anything())


def _integer(type_name: str, *good: str, made_by: str | None = None) -> Kind:
    """1.0 and 1e3 are integers to JSON; what is none is not rounded."""
    number = f"{SAID}::numeric"
    reading = (
        f"CASE WHEN {number} = trunc({number}) THEN {number}::{type_name}"
        f" ELSE {SAID}::{type_name} END"
    )
    return Kind(
        type_name,
        ('"7"', "1e2", "5.0", *good),
        st.one_of(numbers(), strings(st.integers())),
        {"number": reading},
        is_spelled_as_in_a_program,
        made_by=made_by,
    )


def _number(type_name: str, texts: st.SearchStrategy[Any], *good: str) -> Kind:
    shaped = st.one_of(numbers(), strings(texts))
    return Kind(type_name, good, shaped, stricter=has_no_such_places)


def _moment(type_name: str, in_utc: str, *good: str) -> Kind:
    """Numbers are milliseconds since 1970 in UTC, down to the microsecond and not rounded."""
    number = f"{SAID}::numeric"
    moment = (
        f"'epoch'::timestamptz + make_interval(days => trunc({number} / 86400000)::integer)"
        f" + (({number} % 86400000) || ' milliseconds')::interval"
    )
    reading = (
        f"CASE WHEN {number} * 1000 = trunc({number} * 1000) OR ({moment}) IS NULL"
        f" THEN ({moment}){in_utc} ELSE ('finer than it takes: ' || {SAID})::{type_name} END"
    )
    zones = st.sampled_from(["", "Z", "+05:30", "-12", " BC", " CET"])
    texts = st.one_of(
        st.builds("{}{}".format, st.datetimes(), zones),
        st.dates(),
        st.sampled_from(["infinity", "epoch", "0044-03-15 BC", "294277-01-01", "03/04/05", "2-30"]),
    )
    milliseconds = st.integers(-210866803200001, 9224318016000001).map(str)
    shaped = st.one_of(strings(texts), milliseconds, numbers())
    good = ("0", "1700000000123", *good)
    return Kind(type_name, good, shaped, {"number": reading}, is_composite)


# An object in text[] is text of the same JSON value; its white space is not kept.
_ELEMENTS = (
    "coalesce(array_dims(v), '') || ARRAY(SELECT CASE WHEN left(one, 1) = '{{'"
    " THEN one::jsonb::text ELSE one END FROM unnest(v) AS one)::text"
)
_HEX_OR_UTF8 = (
    rf"CASE WHEN {SAID} ~ '^\\x([0-9a-fA-F][0-9a-fA-F])*$' THEN decode(substr({SAID}, 3), 'hex')"
    f" ELSE convert_to({SAID}, 'UTF8') END"
)
_JSON_ELEMENTS = (
    "ARRAY(SELECT CASE WHEN json_typeof(one) <> 'null' THEN one::text::jsonb END"
    " FROM json_array_elements(value) WITH ORDINALITY AS elements (one, number) ORDER BY number)"
)

PRICES = one_of_strings("$1,234.50", "$1", "-$1", "(1)", "0", "1e3", "$", "1,5")

KINDS = [
    _integer("smallint", "32767", "-32768"),
    _integer("integer", "2147483647", "-2147483648"),
    _integer("bigint", "9223372036854775807", "-9223372036854775808"),
    _number("numeric", st.decimals(), "1e400", "0.10", '" .5 "', '"NaN"'),
    _number("numeric(12,3)", st.decimals(), "123456789.125", "1.0004", '"7"'),
    _number("real", st.floats(width=32), "0.1", "-0", "-3e38", '"NaN"'),
    _number("double precision", st.floats(), "0.1", "-0", "5e-324", "12345678901234567890"),
    Kind(
        "boolean",
        ("true", "false", '" yes "', '"of"'),
        one_of_strings("t", "TRUE", "fal", "y", "no", "on", "o", "1", "0", "2", " off\t"),
        stricter=is_number,
    ),
    Kind("text", ('"a"', '""', r'"\\N"', "1.10", '{"a":\t1}', "true"), scalars()),
    Kind("varchar(20)", ('"a"', '"12345678901234567890"', "1e5"), strings(st.text(max_size=24))),
    Kind("char(5)", ('"a"', '"12345"', '"abc          "'), strings(st.text(max_size=7))),
    # json keeps a string's escapes too, where json_populate_record writes the string anew.
    Kind("json", ('{"a":\t1,\r\n"a": 2}', '"a"', r'"\\N"'), documents(), {"string": "value"}),
    Kind("jsonb", ('{"a":\t1,\r\n"a": 2}', '"a"', "1e400", r'"\\N"', "false"), documents()),
    Kind("uuid", ('"0C2D1D1E-9f5a-4a6e-8a53-6f6f6b8f2f11"',), strings(st.uuids())),
    Kind(
        "bytea",
        (r'"\\x00fF"', '"ü"', '""', r'"\\000"'),
        st.one_of(strings(st.text()), strings(st.binary().map(lambda data: r"\x" + data.hex()))),
        {"string": _HEX_OR_UTF8},
        is_no_string,
    ),
    _moment("date", "::date", '"2023-11-14"', '"0044-03-15 BC"'),
    _moment("timestamp", " AT TIME ZONE 'UTC'", '"2023-11-14T22:13:20"'),
    _moment("timestamptz", "", '"2023-11-14T22:13:20+05:30"', '"2023-11-14 22:13"'),
    Kind("time", ('"22:13:20.5"', '"24:00"'), strings(st.times())),
    Kind(
        "interval",
        ('"1 day"', '"-1 2:03:04"', '"P1Y2M3DT4H5M6.7S"'),
        st.one_of(
            strings(st.timedeltas()),
            one_of_strings("1.5 hours ago", "@ 1 year", "P-1D", "-1-2 3 -4:05", "1 x", "7"),
        ),
    ),
    Kind("inet", ('"10.0.0.1/8"', '"::1"'), strings(st.ip_addresses())),
    Kind(
        "text[]",
        (r'["a", null, "NULL", "", "{}", "a,b", "\"", "\\"]', "[]", '[["a"], [1.10]]', '"{x}"'),
        arrays(documents()),
        stricter=has_lists_inside,
        shown=_ELEMENTS,
    ),
    Kind(
        "bigint[]",
        ("[1, null, 9223372036854775807]", "[[1], [2]]"),
        arrays(numbers()),
        stricter=has_lists_inside,
    ),
    Kind(
        "jsonb[]",
        ('["a", 1.10, [1, 2], {"k": "v"}, null, true]', "[]", r'["\\N"]'),
        arrays(documents()),
        {"array": _JSON_ELEMENTS},
    ),
    Kind("int4range", ('"[1,5)"', '"empty"', '"(,3]"'), one_of_strings("[5,1)", "(1,2)", "[", "5")),
    Kind(
        "int4multirange",
        ('"{[1,5),[7,9)}"', '"{}"', '"{[5,7),[1,6)}"'),
        one_of_strings("{[5,1)}", "{(1,2)}", "{[1,2]", "[1,2)", "{(,)}"),
    ),
    Kind("money", ("12", '"-7"'), st.one_of(numbers(), PRICES)),
    Kind(
        "own.mood",
        ('"sad"', '"very happy"', "1", "true"),
        one_of_strings("sad", "very happy", "SAD", "happy", ""),
        made_by="CREATE TYPE own.mood AS ENUM ('sad', 'very happy', '1', 'true', '{{}}')",
    ),
    Kind(
        "own.word",
        ('"abc"', '"true"', "true"),
        one_of_strings("abc", "a b", "ABC", "a\n", ""),
        made_by="CREATE DOMAIN own.word AS text CHECK (VALUE ~ '^[a-z]+$')",
    ),
    _integer(
        "own.positive", made_by="CREATE DOMAIN own.positive AS integer NOT NULL CHECK (VALUE > 0)"
    ),
    Kind(
        "own.amount",
        ("1.10", '"NaN"'),
        numbers(),
        stricter=has_no_such_places,
        made_by="CREATE DOMAIN own.amount AS numeric NOT NULL",
    ),
    Kind(
        "own.payload",
        ('{"a":\t1}', "[]"),
        documents(),
        made_by="CREATE DOMAIN own.payload AS jsonb NOT NULL",
    ),
    Kind(
        "own.prices",
        ('["1", 2]', '"{1}"'),
        arrays(st.one_of(numbers(), PRICES)),
        made_by="CREATE DOMAIN own.prices AS money[] CHECK (cardinality(VALUE) < 3)",
    ),
    Kind(
        "own.documents",
        ('["a", 1.10, [1, 2], {"k": "v"}, null, true]', "[]"),
        arrays(documents()),
        {"array": _JSON_ELEMENTS},
        made_by="CREATE DOMAIN own.documents AS jsonb[] CHECK (cardinality(VALUE) < 9)",
    ),
    Kind(
        "own.document[]",
        ('["a", [1, 2], null]', "[]"),
        arrays(documents()),
        {"array": f"{_JSON_ELEMENTS}::own.document[]"},
        made_by="CREATE DOMAIN own.document AS jsonb CHECK (jsonb_typeof(VALUE) <> 'boolean')",
    ),
    Kind(
        "own.price",
        ("12", '"7"'),
        st.one_of(numbers(), PRICES),
        made_by="CREATE DOMAIN own.price AS money CHECK (VALUE > '0'::money)",
    ),
]
