"""What becomes of a document on its way to the columns: repaired, transformed, flattened."""

import json
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_pg_pipeline.domain.policies import InvalidText
from kafka_pg_pipeline.domain.record_runs import ListedRecords
from kafka_pg_pipeline.domain.records import Reason
from kafka_pg_pipeline.domain.tables import Constant, Header, KeyField, MetadataField, TimeUnit
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.formats.text import JsonDecoder
from kafka_pg_pipeline.pipeline.encode import RowEncoder
from kafka_pg_pipeline.pipeline.encode_record import RunContext
from kafka_pg_pipeline.pipeline.flatten import Flattener
from kafka_pg_pipeline.pipeline.prepare import Preparation
from kafka_pg_pipeline.pipeline.repair_text import repair_document, repair_text
from kafka_pg_pipeline.pipeline.shape import RowShape
from kafka_pg_pipeline.pipeline.transform import load_transform
from kafka_pg_pipeline.ports import Decoders
from kafka_pg_pipeline_tests.encoding import FakeRecord, column, encode, table_of

STRIP, REPLACE = InvalidText.STRIP, InvalidText.REPLACE


# -- awkward text --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "stripped", "replaced"),
    [
        (rb'{"a\u0000b": "x\u0000"}', b'{"ab": "x"}', '{"a\ufffdb": "x\ufffd"}'.encode()),
        (rb'"\ud800"', b'""', '"\ufffd"'.encode()),
        (rb'"\uDC00\uD800"', b'""', '"\ufffd\ufffd"'.encode()),
        (rb'"\ud800\ud83d\ude00"', rb'"\ud83d\ude00"', '"\ufffd\\ud83d\\ude00"'.encode()),
        (rb'"\\u0000 \\ud800"', rb'"\\u0000 \\ud800"', rb'"\\u0000 \\ud800"'),
        (rb'"\\\u0000"', rb'"\\"', '"\\\\\ufffd"'.encode()),
        (rb'"\u00e9\n\u0001"', rb'"\u00e9\n\u0001"', rb'"\u00e9\n\u0001"'),
    ],
)
def test_awkward_text_is_stripped_or_replaced(
    document: bytes, stripped: bytes, replaced: bytes
) -> None:
    assert repair_document(document, STRIP) == stripped
    assert repair_document(document, REPLACE) == replaced
    assert repair_document(document, InvalidText.DEAD_LETTER) == document


AWKWARD = st.text(st.characters() | st.characters(categories=["Cs"]) | st.just("\0"))


@given(
    st.recursive(
        AWKWARD, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner)
    ),
    st.sampled_from([STRIP, REPLACE]),
)
def test_a_repaired_document_holds_the_repaired_strings(value: Any, policy: InvalidText) -> None:
    document = json.dumps(value).encode()
    assert json.loads(repair_document(document, policy)) == _repaired(json.loads(document), policy)


def _repaired(value: Any, policy: InvalidText) -> Any:
    if isinstance(value, str):
        return repair_text(value, policy)
    if isinstance(value, list):
        return [_repaired(item, policy) for item in value]
    return {_repaired(name, policy): _repaired(item, policy) for name, item in value.items()}


def test_keys_and_headers_follow_the_same_policy() -> None:
    columns = [
        column("k", metadata=MetadataField.KEY),
        column("h", "jsonb", metadata=MetadataField.HEADERS),
        replace(column("one"), source=Header("h")),
    ]
    record = FakeRecord(b"{}", key=b"a\0b", headers=(("h", b"c\0"),))
    assert encode(columns, record).verdicts == [("encode", Reason.NUL_CHARACTER, "k")]
    shape = RowShape(preparation=Preparation(STRIP))
    builder = RowEncoder(table_of(columns), RunContext("t"), shape).start_batch()
    builder.add(ListedRecords([record]))
    ((line,),) = [chunk.lines for chunk in builder.chunks()]
    assert line.split("\t")[::2] == ["ab", "c"]


# -- flatten -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "flat"),
    [
        (b'{"a": {"b": 1.10, "c": {"d": [ {"x": 1} ]}}, "e": null}', {"a_b": "1.10", "e": "null"}),
        (b'{"a": {}, "b": 1}', {"b": "1"}),
        (b'{"kept": {"a": 1}, "x": {"y": {"a": 2}}}', {"kept": '{"a": 1}', "x_y": '{"a": 2}'}),
        (b'{"a": 1, "a": {"b": 2}}', {"a_b": "2"}),
    ],
)
def test_nested_objects_become_fields_that_keep_their_text(
    document: bytes, flat: dict[str, str]
) -> None:
    made = Flattener("_", kept=["kept", "x_y"])(document).decode()
    for name, text in flat.items():
        assert f'"{name}":{text}' in made
    assert "{}" not in made
    assert json.loads(made).keys() >= flat.keys()


@pytest.mark.parametrize("document", [b"[1]", b"{", b'"a"', b'{"a": ' + b'{"b":' * 2_000])
def test_what_is_no_object_is_left_to_those_who_say_why(document: bytes) -> None:
    assert Flattener("_")(document) == document


def test_a_nested_field_and_another_of_its_name_collide() -> None:
    with pytest.raises(Rejected) as caught:
        Flattener("_")(b'{"a": {"b": 1}, "a_b": 2}')
    assert caught.value.reason is Reason.NAME_COLLISION
    assert json.loads(Flattener(".")(b'{"a": {"b": 1}, "a_b": 2}')) == {"a.b": 1, "a_b": 2}


# -- units ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "literal", "shown"),
    [
        (TimeUnit.SECONDS, "1700000000", "2023-11-14 22:13:20.000+00"),
        (TimeUnit.SECONDS, "1700000000.123456", "2023-11-14 22:13:20.123456+00"),
        (TimeUnit.MILLISECONDS, "1700000000123", "2023-11-14 22:13:20.123+00"),
        (TimeUnit.MICROSECONDS, "1700000000123456", "2023-11-14 22:13:20.123456+00"),
        (TimeUnit.NANOSECONDS, "1700000000123456789", "2023-11-14 22:13:20.123456+00"),
        (TimeUnit.NANOSECONDS, "-1", "1969-12-31 23:59:59.999999+00"),
        (TimeUnit.SECONDS, '"2023-11-14"', "2023-11-14"),
        (None, '"2023-11-14"', "2023-11-14"),
    ],
)
def test_a_number_counts_the_columns_unit(unit: TimeUnit | None, literal: str, shown: str) -> None:
    columns = [replace(column("at", "timestamptz"), unit=unit)]
    value = f'{{"at": {literal}}}'.encode()
    assert encode(columns, value).lines == [shown]
    assert encode(columns, value, b'{"at": "\\u0041"}').lines[0] == shown


def test_a_number_in_a_column_of_iso_times_is_a_dead_letter() -> None:
    columns = [replace(column("at", "timestamptz"), unit=None)]
    assert encode(columns, b'{"at": 1}').verdicts == [("encode", Reason.WRONG_TYPE, "at")]


# -- other sources -------------------------------------------------------------------------------


def line_of(columns: list[Any], record: FakeRecord) -> list[str]:
    shape = RowShape(decoders=Decoders(key=JsonDecoder()))
    encoder = RowEncoder(table_of(columns), RunContext("t"), shape)
    builder = encoder.start_batch()
    builder.add(ListedRecords([record]))
    ((line,),) = [chunk.lines for chunk in builder.chunks()]
    return line.split("\t")


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (b'{"id": 7, "x": 1}', "7"),
        (b'{"x": 1}', r"\N"),
        (b"7", "7"),
        (b'"7"', "7"),
        (None, r"\N"),
        (b"null", r"\N"),
    ],
)
def test_a_field_of_the_key_fills_a_column(key: bytes | None, shown: str) -> None:
    columns = [column("v"), replace(column("id", "int8"), source=KeyField("id"))]
    assert line_of(columns, FakeRecord(b'{"v": "a", "id": 1}', key=key)) == ["a", shown]


def test_headers_and_constants_meet_their_column_as_json_does() -> None:
    columns = [
        column("v"),
        replace(column("n", "int4"), source=Header("n")),
        replace(column("gone"), source=Header("gone")),
        replace(column("shop", "jsonb"), source=Constant("a\tb")),
    ]
    record = FakeRecord(b"{}", headers=(("n", b"1"), ("n", b"2"), ("gone", None)))
    assert line_of(columns, record) == [r"\N", "2", r"\N", r'"a\\tb"']


def test_rows_tell_their_load_their_run_and_whether_they_are_deletions() -> None:
    fields = (MetadataField.LOAD_ID, MetadataField.RUN_ID, MetadataField.INCARNATION)
    columns = [column(f.value, "text", metadata=f) for f in (*fields, MetadataField.DELETED)]
    context = RunContext("t", "run-1", {3: 2})
    builder = RowEncoder(table_of(columns), context).start_batch()
    builder.add(ListedRecords([FakeRecord(b"{}", partition=3), FakeRecord(None, partition=4)]))
    lines = [line.split("\t") for chunk in builder.chunks() for line in chunk.lines]
    load_id = str(builder.batch_id)
    assert lines == [[load_id, "run-1", "2", "False"], [load_id, "run-1", "1", "True"]]


# -- transforms ----------------------------------------------------------------------------------


@pytest.fixture
def transforms(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("shop_rows")
    monkeypatch.setitem(sys.modules, "shop_rows", module)
    return module


def apply(module: ModuleType, function: Any, document: bytes) -> Any:
    module.to_row = function  # type: ignore[attr-defined]
    made = load_transform("shop_rows:to_row", "t")(FakeRecord(document, offset=5), document)
    return None if made is None else json.loads(made, parse_float=Decimal)


def test_a_transform_sees_exact_numbers_and_the_record(transforms: ModuleType) -> None:
    seen: list[Any] = []

    def to_row(fields: dict[str, Any], record: Any) -> dict[str, Any]:
        seen.extend([fields["d"], fields["i"], record.topic, record.offset])
        return {**fields, "b": b"\x01\xff", "nan": float("nan"), "t": (1, Decimal("1E+400"))}

    document = b'{"d": 0.12345678901234567890, "i": 18446744073709551616}'
    assert apply(transforms, to_row, document) == {
        "d": Decimal("0.12345678901234567890"),
        "i": 2**64,
        "b": "\\x01ff",
        "nan": "NaN",
        "t": [1, Decimal("1E+400")],
    }
    assert seen == [Decimal("0.12345678901234567890"), 2**64, "t", 5]


def test_none_leaves_the_record_out(transforms: ModuleType) -> None:
    assert apply(transforms, lambda fields, record: None, b"{}") is None


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b'{"secret": 1}', Reason.TRANSFORM_FAILED),
        (b"[1]", Reason.NOT_AN_OBJECT),
        (b"{", Reason.INVALID_JSON),
        (b'{"a": NaN}', Reason.INVALID_JSON),
        (b'{"a": "\xff"}', Reason.INVALID_UTF8),
        (b'{"a":' + b"[" * 5_000, Reason.TOO_DEEP),
    ],
)
def test_a_failure_is_a_verdict_on_the_record_without_a_word_of_it(
    transforms: ModuleType, document: bytes, reason: Reason
) -> None:
    def fail(fields: dict[str, Any], record: Any) -> Any:
        raise RuntimeError(f"saw {fields}")

    with pytest.raises(Rejected) as caught:
        apply(transforms, fail, document)
    assert caught.value.reason is reason
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("name", "said"),
    [("no_such_module:f", "cannot be imported"), ("shop_rows:missing", "no such function")],
)
def test_a_transform_that_is_not_there_is_a_configuration_error(
    transforms: ModuleType, name: str, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_transform(name, "t")


def test_a_module_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_rows.py").write_text("import no_such_thing_at_all\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=r"broken_rows:f.*no_such_thing_at_all"):
        load_transform("broken_rows:f", "t")
