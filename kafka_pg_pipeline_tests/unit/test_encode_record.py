"""Metadata columns: the record's own attributes, exactly, in whatever column they have."""

import base64
import json

import pytest

from kafka_pg_pipeline.domain.copy_text import escape
from kafka_pg_pipeline.domain.records import Reason
from kafka_pg_pipeline.domain.tables import MetadataField
from kafka_pg_pipeline_tests.encoding import FakeRecord, column, encode

FIELD = MetadataField


def metadata(field, base_type, **changes):
    return column("m", base_type, metadata=field, **changes)


def encode_one(meta_column, **attributes):
    return encode([meta_column], FakeRecord(b"{}", **attributes))


@pytest.mark.parametrize(
    ("field", "base_type", "attributes", "expected"),
    [
        (FIELD.TOPIC, "text", {}, "shop.orders"),
        (FIELD.PARTITION, "int4", {"partition": 7}, "7"),
        (FIELD.OFFSET, "int8", {"offset": 2**62}, str(2**62)),
        (FIELD.OFFSET, "text", {"offset": 5}, "5"),
        (
            FIELD.TIMESTAMP,
            "timestamptz",
            {"timestamp": 1700000000123},
            "2023-11-14 22:13:20.123+00",
        ),
        (FIELD.TIMESTAMP, "text", {"timestamp": 1700000000123}, "2023-11-14 22:13:20.123+00"),
        (FIELD.TIMESTAMP, "timestamptz", {"timestamp": -1}, r"\N"),
        (FIELD.TIMESTAMP, "timestamptz", {"timestamp": -2}, "1969-12-31 23:59:59.998+00"),
        (FIELD.TIMESTAMP, "timestamptz", {"timestamp": -500}, "1969-12-31 23:59:59.500+00"),
        (FIELD.TIMESTAMP, "timestamptz", {"timestamp": -1000}, "1969-12-31 23:59:59.000+00"),
        (FIELD.TIMESTAMP, "timestamptz", {"timestamp": 0}, "1970-01-01 00:00:00.000+00"),
        (
            FIELD.TIMESTAMP,
            "timestamptz",
            {"timestamp": 253402300800000},
            "10000-01-01 00:00:00.000+00",
        ),
        (
            FIELD.TIMESTAMP,
            "timestamptz",
            {"timestamp": -62135596800001},
            "0001-12-31 23:59:59.999+00 BC",
        ),
        (FIELD.TIMESTAMP, "timestamptz", {"timestamp": 2**63 - 1}, r"\N"),
        (FIELD.TIMESTAMP, "timestamptz", {"timestamp": -(2**63)}, r"\N"),
        (FIELD.TIMESTAMP, "int8", {"timestamp": -1}, "-1"),
        (FIELD.TIMESTAMP, "int8", {"timestamp": 2**63 - 1}, str(2**63 - 1)),
        (FIELD.TIMESTAMP, "numeric", {"timestamp": 5}, "5"),
        (FIELD.TIMESTAMP_TYPE, "text", {"timestamp_type": 0}, "create"),
        (FIELD.TIMESTAMP_TYPE, "text", {"timestamp_type": 1}, "log_append"),
        (FIELD.TIMESTAMP_TYPE, "text", {"timestamp_type": 7}, r"\N"),
        (FIELD.TIMESTAMP_TYPE, "int2", {"timestamp_type": 1}, "1"),
        (FIELD.KEY, "bytea", {"key": b"\x00\xff\\N"}, r"\\x00ff5c4e"),
        (FIELD.KEY, "bytea", {"key": b""}, r"\\x"),
        (FIELD.KEY, "bytea", {"key": None}, r"\N"),
        (FIELD.KEY, "text", {"key": b"\\N\t\xc3\xbc"}, r"\\N\tü"),
        (FIELD.KEY, "text", {"key": b""}, ""),
        (FIELD.KEY, "text", {"key": None}, r"\N"),
        (FIELD.HEADERS, "jsonb", {"headers": ()}, "[]"),
    ],
)
def test_an_attribute_is_written_for_its_column(field, base_type, attributes, expected):
    assert encode_one(metadata(field, base_type), **attributes).lines == [expected]


def test_headers_keep_order_duplicates_null_and_bytes():
    headers = (("a\t", b"\x00\xff"), ("b", None), ("a\t", b""), ("ü\n", b"x"))
    (line,) = encode_one(metadata(FIELD.HEADERS, "jsonb"), headers=headers).lines
    expected = [
        {"key": key, "value": None if value is None else base64.b64encode(value).decode()}
        for key, value in headers
    ]
    assert line == escape(json.dumps(expected, ensure_ascii=False))


@pytest.mark.parametrize(
    ("field", "base_type", "attributes", "reason"),
    [
        (FIELD.KEY, "text", {"key": b"\xff"}, Reason.INVALID_UTF8),
        (FIELD.KEY, "text", {"key": b"a\0"}, Reason.NUL_CHARACTER),
        (FIELD.HEADERS, "jsonb", {"headers": (("a\0", b""),)}, Reason.NUL_CHARACTER),
        (FIELD.HEADERS, "jsonb", {"headers": (("\ud800", b""),)}, Reason.LONE_SURROGATE),
    ],
)
def test_an_attribute_that_no_column_holds_is_a_dead_letter(field, base_type, attributes, reason):
    encoded = encode(
        [column("id", "int8"), metadata(field, base_type)],
        FakeRecord(b'{"id":1}'),
        FakeRecord(b'{"id":2}', **attributes),
        FakeRecord(b'{"id":3}'),
    )
    assert encoded.verdicts == [("encode", reason, "m")]
    assert [line.partition("\t")[0] for line in encoded.lines] == ["1", "3"]


@pytest.mark.parametrize(
    ("field", "base_type", "attributes"),
    [
        (FIELD.KEY, "bytea", {"key": None}),
        (FIELD.KEY, "text", {"key": None}),
        (FIELD.TIMESTAMP, "timestamptz", {"timestamp": -1}),
    ],
)
def test_nothing_for_a_not_null_metadata_column_is_a_dead_letter(field, base_type, attributes):
    encoded = encode_one(metadata(field, base_type, nullable=False), **attributes)
    assert encoded.verdicts == [("encode", Reason.MISSING_VALUE, "m")]


def test_a_key_that_reads_like_null_is_no_null():
    required = metadata(FIELD.KEY, "text", nullable=False)
    assert encode_one(required, key=rb"\N").lines == [r"\\N"]


def test_timestamps_of_one_batch_do_not_mix():
    stamps = [0, 999, 1000, -1, -1000, -999, 1700000000123, 1700000000124, 1699999999999, -1, 0]
    columns = [column("id", "int8"), metadata(FIELD.TIMESTAMP, "timestamptz")]
    records = [FakeRecord(b'{"id":1}', timestamp=stamp) for stamp in stamps]
    together = [line.split("\t")[1] for line in encode(columns, *records).lines]
    alone = [encode(columns, record).lines[0].split("\t")[1] for record in records]
    one_by_one = encode(columns, *records, FakeRecord(None)).lines[:-1]
    assert together == alone == [line.split("\t")[1] for line in one_by_one]
    assert together[:6] == [
        "1970-01-01 00:00:00.000+00",
        "1970-01-01 00:00:00.999+00",
        "1970-01-01 00:00:01.000+00",
        r"\N",
        "1969-12-31 23:59:59.000+00",
        "1969-12-31 23:59:59.001+00",
    ]


def test_metadata_stands_behind_the_values_whatever_the_tables_order():
    columns = [
        metadata(FIELD.OFFSET, "int8"),
        column("a"),
        column("p", "int4", metadata=FIELD.PARTITION),
    ]
    (chunk,) = encode(columns, FakeRecord(b'{"a":"x"}', offset=3, partition=2)).chunks
    assert (chunk.columns, tuple(chunk.lines)) == (("a", "m", "p"), ("x\t3\t2",))


def test_a_field_named_like_a_metadata_column_does_not_fill_it():
    columns = [column("a"), metadata(FIELD.OFFSET, "int8")]
    assert encode(columns, FakeRecord(b'{"a":"x","m":99}', offset=3)).lines == ["x\t3"]
