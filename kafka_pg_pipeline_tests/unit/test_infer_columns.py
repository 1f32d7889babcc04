"""Columns of a new table, from a sample of records."""

import json

import pytest

from kafka_pg_pipeline.domain.naming import Naming
from kafka_pg_pipeline.domain.tables import (
    METADATA_TYPES,
    Attribute,
    ColumnKind,
    ColumnRule,
    MetadataField,
    ValueField,
)
from kafka_pg_pipeline.errors import TargetError
from kafka_pg_pipeline.pipeline.infer import infer_columns
from kafka_pg_pipeline.pipeline.mapping import FieldMapping

MOMENT = "timestamp with time zone"


def infer(*values, overrides=None, metadata=None, **mapping):
    encoded = [v if isinstance(v, bytes | None) else json.dumps(v).encode() for v in values]
    rules = {name: ColumnRule(None, type_name) for name, type_name in (overrides or {}).items()}
    for field, name in (metadata or {}).items():
        rules[name] = ColumnRule(Attribute(field), METADATA_TYPES[field])
    return infer_columns(encoded, FieldMapping(rules, **mapping))


def type_of(*literals):
    values = [f'{{"c":{literal}}}'.encode() for literal in literals]
    (column,) = infer(*values)
    return column.type_name


@pytest.mark.parametrize(
    ("literals", "expected"),
    [
        (["1", "-5"], "bigint"),
        (["9223372036854775807", "-9223372036854775808"], "bigint"),
        (["9223372036854775808"], "numeric"),
        (["-9223372036854775809"], "numeric"),
        (["18446744073709551616"], "numeric"),
        (["9" * 6000], "numeric"),
        (["0.1"], "double precision"),
        (["1", "0.5"], "double precision"),
        (["0.30000000000000004"], "double precision"),
        (["1e5", "-0.0", "5e-324"], "double precision"),
        (["9007199254740993", "0.5"], "numeric"),
        (["9007199254740992", "0.5"], "double precision"),
        (["0.1", "9223372036854775808"], "numeric"),
        (["0.1234567890123456789"], "numeric"),
        (["1e400"], "numeric"),
        (["1e-400"], "numeric"),
        (["12345678901234567890.12345678901234567890"], "numeric"),
        (["true", "false"], "boolean"),
        (["true", "1"], "text"),
        (['"a"'], "text"),
        (['""'], "text"),
        (['"a"', "1"], "text"),
        (["1", '"2026-01-01T00:00:00Z"'], "text"),
        (['"2026-01-01T00:00:00Z"', '"2026-01-01 00:00:00.123456+02:00"'], MOMENT),
        (['"2026-01-01T00:00Z"', '"2026-01-01T00:00:00+0530"', '"2026-01-01T00:00:00-08"'], MOMENT),
        (['"2026-01-01T00:00:00Z"', '"soon"'], "text"),
        (['"2026-01-01T00:00:00"'], "text"),
        (['"2026-01-01"'], "text"),
        (['"2026-02-30T00:00:00Z"'], "text"),
        (['"２０２６-01-01T00:00:00Z"'], "text"),
        (["{}"], "jsonb"),
        (["[1,2]"], "jsonb"),
        (["1", "{}"], "jsonb"),
        (['"a"', "[]"], "jsonb"),
        (["null"], "text"),
        (["null", "1", "null"], "bigint"),
        (["null", "{}"], "jsonb"),
    ],
)
def test_the_type_takes_all_that_was_seen_in_any_order(literals, expected):
    assert type_of(*literals) == expected
    assert type_of(*reversed(literals)) == expected


def test_columns_stand_in_the_order_of_first_appearance():
    columns = infer({"b": 1}, {"a": 1, "b": 2}, {"c": None, "a": "x"})
    assert [column.name for column in columns] == ["b", "a", "c"]


def test_a_field_absent_in_the_first_record_is_found():
    assert [c.name for c in infer({}, None, b"", {"late": 1})] == ["late"]


def test_what_is_no_object_is_passed_over():
    columns = infer(b"broken", b"[1]", b'{"\xff":1}', b'{"a":"\\ud800"}', b"NaN", {"a": 1})
    assert [(c.name, c.type_name) for c in columns] == [("a", "bigint")]


def test_a_byte_order_mark_is_passed_over():
    assert [c.name for c in infer(b'\xef\xbb\xbf{"a":1}')] == ["a"]


def test_a_deep_record_is_no_obstacle():
    assert [c.name for c in infer(b'{"z":' + b"[" * 100_000, {"a": 1})] == ["a"]


def test_names_may_stay_as_they_are_and_fields_with_them():
    (column,) = infer({"userId é": 1}, naming=Naming.PRESERVE)
    assert (column.name, column.field, column.nullable) == ("userId é", "userId é", True)


def test_bounds_and_kinds_come_with_the_types():
    columns = {c.name: c for c in infer({"i": 1, "j": {}, "t": "x", "b": True, "d": 0.5})}
    assert (columns["i"].minimum, columns["i"].maximum) == (-(2**63), 2**63 - 1)
    assert [columns[name].kind for name in "ijtbd"] == [
        ColumnKind.INTEGER,
        ColumnKind.JSON,
        ColumnKind.TEXT,
        ColumnKind.BOOLEAN,
        ColumnKind.DOUBLE,
    ]


@pytest.mark.parametrize(
    ("type_name", "kind"),
    [
        ("numeric(38, 10)", ColumnKind.NUMERIC),
        ("varchar(20)", ColumnKind.TEXT),
        ("character varying(20)", ColumnKind.TEXT),
        ("timestamptz", ColumnKind.TIMESTAMP),
        ("timestamp(3) with time zone", ColumnKind.TIMESTAMP),
        ("INT", ColumnKind.INTEGER),
        ("smallint", ColumnKind.INTEGER),
        ("text[]", ColumnKind.ARRAY),
        ("numeric(10,2)[]", ColumnKind.ARRAY),
        ("uuid", ColumnKind.OTHER),
    ],
)
def test_overrides_give_the_type(type_name, kind):
    (column,) = infer({"a": "x"}, overrides={"a": type_name})
    assert (column.type_name, column.kind) == (type_name, kind)


def test_an_override_adds_a_column_that_the_sample_lacks():
    columns = infer({"a": 1}, overrides={"z": "uuid"})
    assert [(c.name, c.type_name, c.field) for c in columns] == [
        ("a", "bigint", "a"),
        ("z", "uuid", "z"),
    ]


def test_metadata_columns_come_last_with_their_types():
    names = {field: f"kafka_{field.value}" for field in MetadataField}
    columns = infer({"a": 1}, metadata=names)[1:]
    assert [(c.name, c.type_name, c.metadata, c.field) for c in columns] == [
        ("kafka_topic", "text", MetadataField.TOPIC, None),
        ("kafka_partition", "integer", MetadataField.PARTITION, None),
        ("kafka_offset", "bigint", MetadataField.OFFSET, None),
        ("kafka_timestamp", MOMENT, MetadataField.TIMESTAMP, None),
        ("kafka_timestamp_type", "text", MetadataField.TIMESTAMP_TYPE, None),
        ("kafka_key", "bytea", MetadataField.KEY, None),
        ("kafka_headers", "jsonb", MetadataField.HEADERS, None),
        ("kafka_incarnation", "integer", MetadataField.INCARNATION, None),
        ("kafka_load_id", "uuid", MetadataField.LOAD_ID, None),
        ("kafka_run_id", "text", MetadataField.RUN_ID, None),
        ("kafka_deleted", "boolean", MetadataField.DELETED, None),
    ]


def test_names_that_differ_in_case_only_are_refused_with_both():
    with pytest.raises(TargetError, match=r"'userId' and 'userid'"):
        infer({"userId": 1}, {"userid": 2})


def test_an_override_that_differs_in_case_only_is_refused():
    with pytest.raises(TargetError, match=r"'userId' and 'USERID'"):
        infer({"userId": 1}, overrides={"USERID": "text"})


@pytest.mark.parametrize("name", ["kafka_offset", "Kafka_Offset"])
def test_a_field_named_like_a_metadata_column_is_refused_with_both(name):
    with pytest.raises(TargetError, match=rf"{name}.*kafka_offset"):
        infer({name: 1}, metadata={MetadataField.OFFSET: "kafka_offset"})


@pytest.mark.parametrize("name", ["", "a\0b", "ctid", "XMIN"])
def test_a_name_that_postgresql_cannot_hold_is_refused(name):
    naming = Naming.SNAKE_CASE if name == "XMIN" else Naming.PRESERVE
    with pytest.raises(TargetError, match=r"63 bytes.*`drop`"):
        infer({name: 1}, naming=naming)
    assert infer({name: 1}, naming=naming, drop=frozenset({name})) == ()


def test_a_column_of_another_name_takes_what_has_no_name_of_its_own():
    rules = {"row_version": ColumnRule(ValueField("xmin"))}
    (column,) = infer_columns([b'{"xmin": 1}'], FieldMapping(rules))
    assert (column.name, column.field, column.type_name) == ("row_version", "xmin", "bigint")


@pytest.mark.parametrize("naming", Naming)
@pytest.mark.parametrize("name", ["x" * 80, "é" * 40])
def test_a_long_name_is_shortened_stably_and_apart_from_its_like(name, naming):
    first, second = infer({name: 1, name + "y": 2}, naming=naming)
    assert first.name != second.name
    assert max(len(column.name.encode()) for column in (first, second)) <= 63
    assert [first.name, second.name] == [c.name for c in infer({name: 3, name + "y": 0})]


def test_a_name_of_63_bytes_fits():
    assert [c.name for c in infer({"é" * 31 + "x": 1})] == ["é" * 31 + "x"]


def test_nothing_to_see_makes_no_column():
    assert infer() == infer(None, b"", b"x", {}) == ()


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("id", "id"),
        ("userId", "user_id"),
        ("UserID", "user_id"),
        ("HTTPServerName", "http_server_name"),
        ("order-no", "order_no"),
        ("Größe (cm)", "größe_cm_"),
        ("2nd", "_2nd"),
        ("_id", "_id"),
        ("address2", "address2"),
        ("line2Text", "line2_text"),
    ],
)
def test_snake_case_is_what_sql_reads_without_quotes(field, name):
    (column,) = infer({field: 1})
    assert (column.name, column.field) == (name, field)


@pytest.mark.parametrize("other", ["user_id", "UserId", "userid", "USERID"])
def test_fields_that_become_one_column_are_refused_with_both(other):
    with pytest.raises(TargetError, match=f"'userId' and '{other}'"):
        infer({"userId": 1}, {other: 2})


def test_select_and_drop_decide_what_becomes_a_column():
    record = {"a": 1, "b": 2, "c": 3}
    assert [c.name for c in infer(record, select=frozenset("ab"))] == ["a", "b"]
    assert [c.name for c in infer(record, drop=frozenset("b"))] == ["a", "c"]


def test_columns_may_swap_the_names_of_fields():
    rules = {"a": ColumnRule(ValueField("b")), "b": ColumnRule(ValueField("a"), "uuid")}
    columns = infer_columns([b'{"a": "x", "b": 1}'], FieldMapping(rules))
    assert [(c.name, c.field, c.type_name) for c in columns] == [
        ("b", "a", "uuid"),
        ("a", "b", "bigint"),
    ]
