"""How a batch's records come together: blocks, chunks, defaults, missing values, counts."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kafka_pg_pipeline.domain.copy_text import CopyFormat
from kafka_pg_pipeline.domain.modes import Mode, WriteMode
from kafka_pg_pipeline.domain.record_runs import ListedRecords
from kafka_pg_pipeline.domain.records import Reason
from kafka_pg_pipeline.domain.tables import MetadataField
from kafka_pg_pipeline.pipeline.decode_json import JsonDecoder
from kafka_pg_pipeline.pipeline.encode import RowEncoder
from kafka_pg_pipeline.pipeline.encode_record import RunContext
from kafka_pg_pipeline.pipeline.shape import RowShape
from kafka_pg_pipeline_tests.encoding import (
    FakeRecord,
    array_column,
    column,
    encode,
    table_of,
)

OFFSET = column("kafka_offset", "int8", metadata=MetadataField.OFFSET)
MISSING = Reason.MISSING_VALUE


def test_each_line_has_its_record_and_both_stand_in_the_order_of_the_log():
    values = [b'{"id":%d}' % number for number in range(1000)]
    values[300] = rb'{"id":300,"x":"\n"}'
    values[301] = b"broken"
    values[700] = None
    encoded = encode([column("id", "int8"), OFFSET], *values)
    for chunk in encoded.chunks:
        assert chunk.columns == ("id", "kafka_offset")
        offsets = [record.offset for record in chunk.records]
        assert offsets == sorted(offsets)
        ids = ["\\N" if offset == 700 else str(offset) for offset in offsets]
        assert list(chunk.lines) == [
            f"{id_}\t{offset}" for id_, offset in zip(ids, offsets, strict=True)
        ]
    written = [record.offset for chunk in encoded.chunks for record in chunk.records]
    assert sorted(written) == [n for n in range(1000) if n != 301]
    assert {chunk.lines.format for chunk in encoded.chunks} == set(CopyFormat)
    assert [letter.record.offset for letter in encoded.dead] == [301]


def test_one_bad_record_takes_no_neighbour_along():
    values = [b'{"id":1}', b'{"id":"x"}', b'{"id":2}', rb'{"id":"\ud800"}', b'{"id":3}']
    encoded = encode([column("id", "int8")], *values)
    assert encoded.lines == ["1", "2", "3"]
    assert [letter.record.offset for letter in encoded.dead] == [1, 3]
    assert encoded.rows == 3


def test_bytes_count_keys_and_values_of_all_records_dead_ones_too():
    encoded = encode(
        [column("id", "int8")],
        FakeRecord(b'{"id":1}', key=b"four"),
        FakeRecord(b"bad!", key=None),
        FakeRecord(None, key=b"k"),
        FakeRecord(b"", key=b""),
    )
    assert encoded.record_bytes == 8 + 4 + 4 + 1
    assert (encoded.rows, len(encoded.dead)) == (2, 2)


def test_a_batch_takes_records_in_several_calls():
    builder = RowEncoder(table_of([column("id", "int8")]), RunContext("t")).start_batch()
    builder.add(ListedRecords([]))
    builder.add(ListedRecords([FakeRecord(b'{"id":1}')]))
    builder.add(
        ListedRecords((FakeRecord(b'{"id":2}', partition=1), FakeRecord(b"x", partition=1)))
    )
    assert sorted(tuple(chunk.lines) for chunk in builder.chunks()) == [("1",), ("2",)]
    assert (builder.records, len(builder.dead_letters), builder.record_bytes) == (3, 1, 17)


def test_batches_do_not_share_anything():
    encoder = RowEncoder(table_of([column("id", "int8")]), RunContext("t"))
    first, second = encoder.start_batch(), encoder.start_batch()
    first.add(ListedRecords([FakeRecord(b'{"id":1}')]))
    assert (second.records, second.chunks()) == (0, ())


def test_a_batch_of_dead_letters_has_no_chunk():
    assert encode([column("id", "int8")], b"x").chunks == ()


# -- missing values, null and defaults -----------------------------------------------------------


def test_a_field_that_is_missing_or_null_is_null():
    columns = [column(name, name) for name in ("int8", "float8", "numeric", "bool", "jsonb")]
    columns += [column("timestamptz", "timestamptz"), column("bytea", "bytea"), array_column("a")]
    nulls = "\t".join([r"\N"] * len(columns))
    explicit = "{" + ",".join(f'"{c.name}":null' for c in columns) + "}"
    assert encode(columns, b"{}", explicit.encode(), None).lines == [nulls] * 3


KINDS = ["int8", "float8", "numeric", "bool", "text", "jsonb", "timestamptz", "bytea", "uuid"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [b"{}", b'{"c":null}', rb'{"c":null,"x":"\n"}', None])
def test_nothing_for_a_not_null_column_is_a_dead_letter_that_names_it(kind, value):
    columns = [column("a"), column("c", kind, nullable=False)]
    assert encode(columns, value).verdicts == [("encode", MISSING, "c")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_field_leaves_a_column_with_a_default_out(kind):
    columns = [column("a", "int8"), column("c", kind, has_default=True, nullable=False)]
    encoded = encode(columns, b'{"a":1}', rb'{"a":2,"x":"\n"}')
    assert [(chunk.columns, tuple(chunk.lines)) for chunk in encoded.chunks] == [
        (("a",), ("1", "2"))
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_an_explicit_null_is_null_where_a_default_stands_too(kind):
    columns = [column("a", "int8"), column("c", kind, has_default=True)]
    for value in (b'{"a":1,"c":null}', rb'{"a":1,"c":null,"x":"\n"}'):
        (chunk,) = encode(columns, value).chunks
        assert (chunk.columns, tuple(chunk.lines)) == (("a", "c"), ("1\t\\N",))


@pytest.mark.parametrize("kind", KINDS)
def test_an_explicit_null_for_a_not_null_column_is_a_dead_letter_default_or_not(kind):
    columns = [column("a", "int8"), column("c", kind, has_default=True, nullable=False)]
    assert encode(columns, b'{"a":1,"c":null}').verdicts == [("encode", MISSING, "c")]


def test_rows_are_grouped_by_the_columns_they_fill():
    columns = [
        column("a", "int8"),
        column("b", has_default=True),
        column("c", has_default=True),
        OFFSET,
    ]
    values = [b'{"a":1}', b'{"a":2,"b":"x"}', b'{"a":3}', b'{"a":4,"c":"y"}', b'{"b":"z","c":"w"}']
    encoded = encode(columns, *values)
    assert {chunk.columns: tuple(chunk.lines) for chunk in encoded.chunks} == {
        ("a", "kafka_offset"): ("1\t0", "3\t2"),
        ("a", "b", "kafka_offset"): ("2\tx\t1",),
        ("a", "c", "kafka_offset"): ("4\ty\t3",),
        ("a", "b", "c", "kafka_offset"): ("\\N\tz\tw\t4",),
    }
    for chunk in encoded.chunks:
        assert [line.rpartition("\t")[2] for line in chunk.lines] == [
            str(record.offset) for record in chunk.records
        ]


def test_a_tombstone_is_a_row_of_nulls_with_its_metadata():
    columns = [column("a", "int8"), column("b", has_default=True), OFFSET]
    encoded = encode(columns, b'{"a":1,"b":"x"}', None)
    assert {chunk.columns: tuple(chunk.lines) for chunk in encoded.chunks} == {
        ("a", "b", "kafka_offset"): ("1\tx\t0",),
        ("a", "kafka_offset"): ("\\N\t1",),
    }


@pytest.mark.parametrize("value", [b"{}", b'{"x":1}', rb'{"x":"\n"}', None])
def test_a_row_of_nothing_but_defaults_is_a_dead_letter_since_copy_cannot_write_it(value):
    columns = [column("a", has_default=True), column("b", has_default=True)]
    assert encode(columns, value).verdicts == [("encode", MISSING, None)]
    with_offset = encode([*columns, OFFSET], value)
    assert [(chunk.columns, tuple(chunk.lines)) for chunk in with_offset.chunks] == [
        (("kafka_offset",), ("0",))
    ]


def test_a_table_without_columns_takes_nothing():
    assert encode([], b'{"a":1}').verdicts == [("encode", MISSING, None)]


def test_metadata_alone_makes_a_row():
    assert encode([OFFSET], b"{}", b'{"a":1}', b"broken").lines == ["0", "1"]


def test_a_line_brings_along_what_an_older_one_has_however_its_key_was_encoded():
    columns = [column("k", "float8"), column("a", "int8", has_default=True)]
    shape = RowShape(mode=WriteMode(Mode.UPSERT, ("k",)))
    builder = RowEncoder(table_of(columns), RunContext("t"), shape).start_batch()
    builder.add(ListedRecords([FakeRecord(b'{"k":1e19,"a":1}')] * 2))
    assert {chunk.lines.format for chunk in builder.chunks()} == {CopyFormat.CSV}
    builder.add(ListedRecords([FakeRecord(b'{"k":1e19}')]))
    assert {chunk.columns for chunk in builder.chunks()} == {("k", "a")}
    assert builder.chunks()[-1].lines[-1] == "1e+19\t1"


# -- blocks --------------------------------------------------------------------------------------


def test_a_block_of_plain_records_is_taken_at_once():
    decoder = JsonDecoder([column("a", "int8"), column("b")])
    assert decoder.decode_block([b'{"a":1,"b":"x"}', b'{"a":2,"b":null}', b"{}"]) == (
        (0, 1),
        [(1, "x"), (2, None), (None, None)],
    )


_PIECES = st.lists(
    st.sampled_from(
        ['{"a":1', '{"a":2}', ',"b":"x"', "}", "{", '"', ",", "\n", " ", "}\n{", "[", "]"]
    ),
    max_size=4,
).map(lambda pieces: "".join(pieces).encode())


@given(st.lists(_PIECES, min_size=1, max_size=4))
@example([b'{"a":1}\n{"a":2}', b'{"a":3', b',"b":"x"}'])
@example([b'{"a":1', b',"b":"x"}', b'{"a":2}{"a":3}'])
@example([b'{"a":1}{"a":2}'])
@example([b'{"a":1}{"a":2}', b'{"a":[{}', b"{}]}"])
def test_a_block_holds_what_each_of_its_documents_holds_alone(documents):
    decoder = JsonDecoder([column("a", "int8"), column("b")])
    block = decoder.decode_block(documents)
    alone = [decoder.decode_block([document]) for document in documents]
    if None in alone:
        assert block is None
    else:
        assert block == ((0, 1), [row for _, (row,) in alone])


def test_moments_as_numbers_are_taken_in_blocks_and_beside_texts():
    decoder = JsonDecoder([column("at", "timestamptz")])
    numbers, texts = [b'{"at":0}', b'{"at":1000}'], [b'{"at":"2026-01-01T00:00:00Z"}'] * 2
    in_numbers = [("1970-01-01 00:00:00.000+00",), ("1970-01-01 00:00:01.000+00",)]
    in_texts = [("2026-01-01T00:00:00Z",)] * 2
    assert decoder.decode_block(texts) == ((0,), in_texts)
    assert decoder.decode_block([*texts, *numbers]) == ((0,), in_texts + in_numbers)
    assert decoder.decode_block(texts) == ((0,), in_texts)


def test_only_a_negative_zero_makes_zeros_a_surprise():
    decoder = JsonDecoder([column("x", "float8"), column("t")])
    assert decoder.decode_block([b'{"x":0.0,"t":"a-0"}']) == ((0, 1), [(0.0, "a-0")])
    for negative in (b'{"x":-0}', b'{"x": -0 }', b'{"x":\n-0}'):
        assert decoder.decode_block([negative]) is None


@pytest.mark.parametrize(
    "surprise",
    [
        None,
        b"",
        b"broken",
        b'{"a":"x"}',
        rb'{"a":1,"b":"\ud800"}',
        b'{"a":1,"b":"\xff"}',
        b'{"a":1.5}',
        b'{"c":%s}' % (b"[" * 300 + b"]" * 300),
    ],
)
def test_a_block_with_a_surprise_is_left_to_closer_looks(surprise):
    decoder = JsonDecoder([column("a", "int8"), column("b")])
    assert decoder.decode_block([b'{"a":1}', surprise, b'{"a":2}']) is None


def test_large_values_are_taken_one_by_one():
    large = b'{"b":"%s"}' % (b"x" * 3_000_000)
    decoder = JsonDecoder([column("b")])
    assert decoder.decode_block([large]) is not None
    assert decoder.decode_block([large, large]) is None
    assert encode([column("b")], large, large).rows == 2


def test_a_string_of_20_mb_is_one_field():
    text = "ü\n" * 7_000_000
    (line,) = encode([column("c")], b'{"c":"%s"}' % text.replace("\n", "\\n").encode()).lines
    assert line == text.replace("\n", "\\n")
