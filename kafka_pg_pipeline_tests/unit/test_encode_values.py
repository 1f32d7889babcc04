"""What each JSON value becomes in each kind of column, whichever way it is decoded."""

import pytest

from kafka_pg_pipeline.domain.records import Reason
from kafka_pg_pipeline_tests.encoding import (
    array_column,
    by_record,
    column,
    encode,
    exactly,
    in_a_block,
)

INVALID_UTF8, LONE, NUL = Reason.INVALID_UTF8, Reason.LONE_SURROGATE, Reason.NUL_CHARACTER
WRONG, RANGE, DEEP = Reason.WRONG_TYPE, Reason.OUT_OF_RANGE, Reason.TOO_DEEP

INTEGERS = [
    ("0", "0"),
    ("-0", "0"),
    ("9223372036854775807", "9223372036854775807"),
    ("-9223372036854775808", "-9223372036854775808"),
    ("9223372036854775808", RANGE),
    ("-9223372036854775809", RANGE),
    ("18446744073709551615", RANGE),
    ("18446744073709551616", RANGE),
    ("9" * 6000, RANGE),
    ("1.0", "1"),
    ("1e3", "1000"),
    ("1.5e1", "15"),
    ("9223372036854775807.0", "9223372036854775807"),
    ("9.223372036854775808e18", RANGE),
    ("1e999999999999999999999", RANGE),
    ("0e30", "0"),
    ("-0.0", "0"),
    ("1.5", WRONG),
    ("1e-5", WRONG),
    ("1e-400", WRONG),
    ("123456789012345678.5", WRONG),
    ('"123"', "123"),
    ('" -7 "', "-7"),
    ('"+7"', "7"),
    ('"' + "0" * 5000 + '1"', "1"),
    ('"abc"', WRONG),
    ('""', WRONG),
    ('"1_000"', WRONG),
    ('"0x1F"', WRONG),
    ('"１２"', WRONG),
    ('"1.0"', WRONG),
    ('"\\u00a07"', WRONG),
    ("true", WRONG),
    ("[1]", WRONG),
    ('{"a":1}', WRONG),
    ("null", r"\N"),
]
NUMERICS = [
    ("12345678901234567890123456789012345678", "12345678901234567890123456789012345678"),
    ("0.1000", "0.1000"),
    ("1e400", "1e400"),
    ("-1E-5", "-1E-5"),
    ("9" * 6000, "9" * 6000),
    ("1e131071", "1e131071"),
    ("1e131072", RANGE),
    ("1e-16383", "1e-16383"),
    ("1e-16384", RANGE),
    ("1e9999999999999999999999", RANGE),
    ("0e999999", "0"),
    ('"1.50"', "1.50"),
    ('" .5 "', ".5"),
    ('"NaN"', "NaN"),
    ('"-Infinity"', "-Infinity"),
    ('"sNaN"', WRONG),
    ('"1_000"', WRONG),
    ('"１２"', WRONG),
    ('"abc"', WRONG),
    ("true", WRONG),
    ("[]", WRONG),
    ("null", r"\N"),
]
DOUBLES = [
    ("0.1", "0.1"),
    ("5", "5.0"),
    ("-0.0", "-0.0"),
    ("1.7976931348623157e308", "1.7976931348623157e+308"),
    ("5e-324", "5e-324"),
    ("123456789.123456789123456789", "123456789.12345679"),
    ("18446744073709551617", "1.8446744073709552e+19"),
    ("1e400", RANGE),
    ("-1e400", RANGE),
    ("9" * 400, RANGE),
    ('"1e400"', RANGE),
    ('"2.5"', "2.5"),
    ('"NaN"', "NaN"),
    ('"abc"', WRONG),
    ('"1_0"', WRONG),
    ("false", WRONG),
    ("null", r"\N"),
]
BOOLEANS = [
    ("true", "true"),
    ("false", "false"),
    ('" T "', "T"),
    ('"of"', "of"),
    ('"0"', "0"),
    ('"o"', WRONG),
    ('"\\u00a0true"', WRONG),
    ('"abc"', WRONG),
    ("1", WRONG),
    ("null", r"\N"),
]
TEXTS = [
    ('"plain"', "plain"),
    ('""', ""),
    (r'"\\N"', r"\\N"),
    (r'"\t\n\r\\\b\f\/\""', '\\t\\n\\r\\\\\b\f/"'),
    (r'"\ud83d\ude00"', "😀"),
    ('"😀"', "😀"),
    ("1.10", "1.10"),
    ("1e400", "1e400"),
    ("true", "true"),
    ('{"a": [1,  2]}', '{"a": [1,  2]}'),
    ("[1,\n\t2]", r"[1,\n\t2]"),
    ("null", r"\N"),
]
JSONS = [
    ('{"b": 1, "a": [1e400, 0.10]}', '{"b": 1, "a": [1e400, 0.10]}'),
    ('"text"', '"text"'),
    (r'"\\N"', r'"\\\\N"'),
    (r'{"a":"\n\u00e9"}', r'{"a":"\\n\\u00e9"}'),
    ("18446744073709551616", "18446744073709551616"),
    ("false", "false"),
    ('{"a":\t1,\r\n"b":\n2}', r'{"a":\t1,\r\n"b":\n2}'),
    ('"\u00a0\u2028"', '"\u00a0\u2028"'),
    ("null", r"\N"),
    (r'"\\u0000"', r'"\\\\u0000"'),
]
MOMENTS = [
    ("1700000000123", "2023-11-14 22:13:20.123+00"),
    ("0", "1970-01-01 00:00:00.000+00"),
    ("-1", "1969-12-31 23:59:59.999+00"),
    ("-999", "1969-12-31 23:59:59.001+00"),
    ("1e3", "1970-01-01 00:00:01.000+00"),
    ("1700000000123.456", "2023-11-14 22:13:20.123456+00"),
    ("1700000000123.4560", "2023-11-14 22:13:20.123456+00"),
    ("0.0005", WRONG),
    ("253402300800000", "10000-01-01 00:00:00.000+00"),
    ("-62135596800001", "0001-12-31 23:59:59.999+00 BC"),
    ("-210866803200000", "4714-11-24 00:00:00.000+00 BC"),
    ("-210866803200001", RANGE),
    ("9224318015999999", "294276-12-31 23:59:59.999+00"),
    ("9224318016000000", RANGE),
    ("9223372036854775807", RANGE),
    ("1e999999999", RANGE),
    ('"2026-01-01T00:00:00Z"', "2026-01-01T00:00:00Z"),
    ('"no date"', "no date"),
    (r'"a\tb"', r"a\tb"),
    ("true", WRONG),
    ("null", r"\N"),
]
BYTES = [
    ('"abc"', r"\\x616263"),
    ('"ü"', r"\\xc3bc"),
    (r'"\\x00fF"', r"\\x00fF"),
    (r'"\\x0"', r"\\x5c7830"),
    ('""', r"\\x"),
    ("1", WRONG),
    ("[]", WRONG),
    ("null", r"\N"),
]
ARRAYS = [
    ("[]", "{}"),
    ('["a",null,"NULL",""]', '{"a",NULL,"NULL",""}'),
    (r'["a,b","{}","q\"q","b\\s"]', r'{"a,b","{}","q\\"q","b\\\\s"}'),
    (r'["t\tn\n"]', r'{"t\tn\n"}'),
    ("[[1,2],[3,null]]", "{{1,2},{3,NULL}}"),
    ("[1e400,0.10,true]", "{1e400,0.10,true}"),
    ('[{"é":1.10}]', r'{"{\\"é\\": 1.10}"}'),
    ('"{1,2}"', "{1,2}"),
    ("1", WRONG),
    ("{}", WRONG),
    ("true", WRONG),
    ("null", r"\N"),
]
OTHERS = [
    ('"0c2d1d1e-9f5a-4a6e-8a53-6f6f6b8f2f11"', "0c2d1d1e-9f5a-4a6e-8a53-6f6f6b8f2f11"),
    ("12", "12"),
    ("true", "true"),
    ('{"a":1}', '{"a":1}'),
    (r'"a\\b"', r"a\\b"),
    ("null", r"\N"),
]
CASES = [
    (kind_column, literal, expected)
    for kind_column, cases in (
        (column("c", "int8"), INTEGERS),
        (column("c", "numeric"), NUMERICS),
        (column("c", "float8"), DOUBLES),
        (column("c", "bool"), BOOLEANS),
        (column("c", "text"), TEXTS),
        (column("c", "jsonb"), JSONS),
        (column("c", "json"), JSONS),
        (column("c", "timestamptz"), MOMENTS),
        (column("c", "date"), MOMENTS),
        (column("c", "bytea"), BYTES),
        (array_column("c"), ARRAYS),
        (column("c", "uuid"), OTHERS),
    )
    for literal, expected in cases
]


def same(kind_column, item):
    return item.lower() if kind_column.type_name == "bool" else item


@pytest.mark.parametrize(
    ("kind_column", "literal", "expected"),
    CASES,
    ids=[f"{kind.type_name} {literal[:24]}" for kind, literal, _ in CASES],
)
def test_a_value_becomes_what_its_column_takes(kind_column, literal, expected):
    value = f'{{"c":{literal}}}'.encode()
    wanted = ("encode", expected, "c") if isinstance(expected, Reason) else None
    for found in (by_record([kind_column], value), exactly([kind_column], value)):
        if wanted:
            assert found == wanted
        else:
            assert same(kind_column, found[0]) == same(kind_column, expected)
    block = in_a_block([kind_column], value)
    assert block is None or not wanted
    assert block is None or same(kind_column, block[0]) == same(kind_column, expected)


@pytest.mark.parametrize(
    ("base_type", "least", "most"), [("int2", -(2**15), 2**15 - 1), ("int4", -(2**31), 2**31 - 1)]
)
def test_smaller_integers_have_their_own_bounds(base_type, least, most):
    columns = [column("c", base_type)]
    for number in (least, most):
        assert encode(columns, b'{"c":%d}' % number).lines == [str(number)]
    for number in (least - 1, most + 1):
        assert encode(columns, b'{"c":%d}' % number).verdicts == [("encode", RANGE, "c")]


ALL_KINDS = [
    column("c", name)
    for name in ("int8", "numeric", "float8", "bool", "text", "json", "jsonb", "timestamptz")
] + [column("c", "bytea"), array_column("c"), column("c", "uuid")]


@pytest.mark.parametrize("kind_column", ALL_KINDS, ids=lambda kind: kind.type_name)
def test_a_nul_character_is_a_dead_letter_in_every_column(kind_column):
    assert encode([kind_column], rb'{"c":"a\u0000b"}').verdicts == [("encode", NUL, "c")]


@pytest.mark.parametrize("kind_column", ALL_KINDS, ids=lambda kind: kind.type_name)
@pytest.mark.parametrize("text", [rb"\ud800", rb"a\udfffb", rb"\ud800x", rb"\ude00\ud83d"])
def test_a_lone_surrogate_is_a_dead_letter_in_every_column(kind_column, text):
    assert encode([kind_column], b'{"c":"%s"}' % text).verdicts == [("decode", LONE, None)]


@pytest.mark.parametrize("kind", ["json", "jsonb", "text"])
@pytest.mark.parametrize(
    "literal", [rb'{"k":"\u0000"}', rb'[["\u0000"]]', rb'{"\u0000":1}', rb'{"a":{"b\u0000":[]}}']
)
def test_a_nul_character_is_found_however_deep_and_in_names(kind, literal):
    encoded = encode([column("c", kind)], b'{"c":%s}' % literal)
    assert encoded.verdicts == [("encode", NUL, "c")]


@pytest.mark.parametrize("kind", ["json", "jsonb", "text"])
@pytest.mark.parametrize("literal", [rb'{"k":"\ud800"}', rb'[["\udc00"]]', rb'{"\ud800":1}'])
def test_a_lone_surrogate_is_found_however_deep_and_in_names(kind, literal):
    encoded = encode([column("c", kind)], b'{"c":%s}' % literal)
    assert encoded.verdicts == [("decode", LONE, None)]


def test_a_nul_character_in_an_array_is_a_dead_letter():
    assert encode([array_column("c")], rb'{"c":["\u0000"]}').verdicts == [("encode", NUL, "c")]
    assert encode([array_column("c")], rb'{"c":[{"\u0000":1}]}').verdicts == [("encode", NUL, "c")]


def test_elements_of_a_jsonb_array_are_json_values_of_their_own():
    columns = [array_column("c", "jsonb[]")]
    assert encode(columns, b'{"c":["a",1.10,[1,2],{"k":"v"},null,true]}').lines == [
        r'{"\\"a\\"","1.10","[1, 2]","{\\"k\\": \\"v\\"}",NULL,"true"}'
    ]


def test_money_is_read_by_postgresql_alone():
    columns = [column("c", "money")]
    assert encode(columns, b'{"c":"$1,234.50"}', b'{"c":12.5}').lines == ["$1,234.50", "12.5"]


@pytest.mark.parametrize(
    "value",
    [b'{"c":"\xff"}', b'{"c":"\xed\xa0\x80"}', b'{"c":"\xc0\x80"}', b'{"c":"\xf4\x90\x80\x80"}'],
)
@pytest.mark.parametrize("kind", ["text", "jsonb", "int8", "timestamptz", "uuid"])
def test_bytes_that_are_no_utf8_are_a_dead_letter(kind, value):
    assert encode([column("c", kind)], value).verdicts == [("decode", INVALID_UTF8, "c")]


def test_bytes_that_are_no_utf8_do_no_harm_where_no_column_takes_them():
    columns = [column("c")]
    value = b'{"x":"\xff","c":"a"}'
    assert encode(columns, value).lines == ["a"]
    assert exactly(columns, value) == ("a",)


def test_a_name_that_is_no_utf8_could_be_any_fields():
    encoded = encode([column("c")], b'{"\xff":1,"c":"a"}')
    assert encoded.verdicts == [("decode", Reason.INVALID_UTF8, None)]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"{",
        b'{"c":1}x',
        b'{"c":1}{"c":2}',
        b'{"c":NaN}',
        b'{"c":Infinity}',
        b'{"c":-Infinity}',
        b'{"c":01}',
        b'{"c":1.}',
        b'{"c":.5}',
        b'{"c":+1}',
        b'{"c":"a\tb"}',
        b'{"c":"a\nb"}',
        b'{"c":"a\0b"}',
        rb'{"c":"\x41"}',
        rb'{"c":"\u12"}',
        rb'{"x":"\x41"}',
        b'{"c":[1,]}',
        b"{'c':1}",
        b'{"c":nul}',
        b"\xff\xfe{\0}\0",
    ],
)
@pytest.mark.parametrize("kind", ["text", "jsonb", "numeric"])
def test_what_is_no_json_is_a_dead_letter(kind, value):
    ((stage, reason, _),) = encode([column("c", kind)], value).verdicts
    assert stage == "decode"
    assert reason is (INVALID_UTF8 if value.startswith(b"\xff") else Reason.INVALID_JSON)


@pytest.mark.parametrize("value", [b"null", b"[]", b'"text"', b"3", b"true", b"[{}]"])
def test_what_is_no_object_is_a_dead_letter(value):
    encoded = encode([column("c")], value)
    assert encoded.verdicts == [("decode", Reason.NOT_AN_OBJECT, None)]


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("kind", ["jsonb", "text", "int8"])
@pytest.mark.parametrize("name", [b"c", b"unused"])
def test_256_levels_fit_and_257_are_too_deep(kind, name, opening, closing):
    def nested(levels):
        inside = levels - 1  # the record itself is one
        return b'{"%s":%s%s%s}' % (name, opening * inside, b"1", closing * inside)

    columns = [column("c", kind)]
    fits = encode(columns, nested(256))
    assert DEEP not in [reason for _, reason, _ in fits.verdicts]
    for levels in (257, 900, 100_000):
        assert encode(columns, nested(levels)).verdicts == [("decode", DEEP, None)]
        with_backslash = nested(levels)[:-1] + rb',"z":"\n"}'
        assert encode(columns, with_backslash).verdicts == [("decode", DEEP, None)]


def test_brackets_inside_strings_are_no_depth():
    text = '{["' * 400
    assert encode([column("c", "int8")], b'{"x":"%s","c":1}' % (b"[{" * 400)).lines == ["1"]
    value = ('{"x":"' + text.replace('"', '\\"') + '","c":1}').encode()
    assert encode([column("c", "int8")], value).lines == ["1"]


def test_many_shallow_brackets_are_no_depth():
    assert encode([column("c", "jsonb")], b'{"c":[%s]}' % b",".join([b"{}"] * 2000)).rows == 1


def test_a_byte_order_mark_is_passed_over():
    assert encode([column("c")], b'\xef\xbb\xbf{"c":"a"}').lines == ["a"]


def test_of_duplicate_names_the_last_wins_whatever_the_first_was():
    columns = [column("c", "int8")]
    assert encode(columns, b'{"c":1,"c":2}', b'{"c":"x","c":3}').lines == ["2", "3"]
    assert encode(columns, b'{"c":1,"c":"x"}').verdicts == [("encode", WRONG, "c")]


def test_a_name_may_be_written_with_escapes():
    assert encode([column("c")], rb'{"\u0063":"a"}').lines == ["a"]


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\tb", "a b", "ü", "%s", ""])
def test_a_column_may_have_any_name(name):
    text = name.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
    columns = [column(name, "int8"), column("c")]
    encoded = encode(columns, f'{{"{text}":7,"c":"x"}}'.encode(), b'{"c":"%d"}', b'{"c":"\\t"}')
    assert encoded.lines == ["7\tx", "\\N\t%d", "\\N\t\\t"]


def test_a_string_that_looks_like_null_stays_a_string():
    columns = [column("a"), column("b")]
    assert encode(columns, rb'{"a":"\\N"}', b'{"b":"None"}', b'{"a":null,"b":"null"}').lines == [
        "\\\\N\t\\N",
        "\\N\tNone",
        "\\N\tnull",
    ]
