"""Moments land the same whatever zone and styles the client, the role and the server have."""

import time
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from kafka_pg_pipeline.settings.models import KafkaSettings, PostgresSettings
from kafka_pg_pipeline_tests.content.landing import (
    Dead,
    create_table,
    fates_by_offset,
    load_fates,
    one_partition,
    record_of,
)
from kafka_pg_pipeline_tests.encoding import FakeRecord
from kafka_pg_pipeline_tests.fix_streams import OFFSET_COLUMNS, Bench, BenchMaker

EPOCH_MS = 1_700_000_000_123
NEAR_MIDNIGHT_MS = 1_700_006_399_000
ODD_SETTINGS = {
    "timezone": "Asia/Kolkata",
    "datestyle": "SQL,DMY",
    "intervalstyle": "sql_standard",
    "timezone_abbreviations": "Australia",
    "array_nulls": "off",
}
COLUMNS = {
    "moment": "timestamptz",
    "wall": "timestamp",
    "day": "date",
    "hour": "timetz",
    "span": "interval",
    "tags": "text[]",
    "kafka_time": "timestamptz",
}
READINGS = [
    ("moment", str(EPOCH_MS), "2023-11-14 22:13:20.123+00"),
    ("moment", f"{EPOCH_MS}.456", "2023-11-14 22:13:20.123456+00"),
    ("moment", '"2023-11-14T22:13:20.123Z"', "2023-11-14 22:13:20.123+00"),
    ("moment", '"2023-11-15T03:43:20.123+05:30"', "2023-11-14 22:13:20.123+00"),
    ("moment", '"2023-11-14 22:13:20.123"', "2023-11-14 22:13:20.123+00"),
    ("moment", '"2023-11-14 22:13:20 EST"', "2023-11-15 03:13:20+00"),
    ("moment", '"03/04/05"', "2003-04-05 00:00:00+00"),
    ("moment", "-1", "1969-12-31 23:59:59.999+00"),
    ("moment", "-210866803200000", "4714-11-24 00:00:00+00 BC"),
    ("moment", "9224318015999999", "294276-12-31 23:59:59.999+00"),
    ("moment", '"infinity"', "infinity"),
    ("wall", str(EPOCH_MS), "2023-11-14 22:13:20.123"),
    ("day", str(NEAR_MIDNIGHT_MS), "2023-11-14"),
    ("day", '"03/04/05"', "2003-04-05"),
    ("hour", '"22:13:20"', "22:13:20+00"),
    ("span", '"-1 2:03:04"', "-1 days +02:03:04"),
    ("tags", '[null, "NULL"]', '{NULL,"NULL"}'),
]


@pytest.fixture
def timed(kafka: KafkaSettings, postgres: PostgresSettings, bench_maker: BenchMaker) -> Bench:
    """A stream that keeps the record's own timestamp, its records sent and its table made."""
    bench = bench_maker.make(
        kafka, postgres, metadata={**OFFSET_COLUMNS, "timestamp": "kafka_time"}
    )
    bench.create_topic(1)
    create_table(bench, COLUMNS)
    records = [
        FakeRecord(record_of(column, text), timestamp=EPOCH_MS) for column, text, _ in READINGS
    ]
    bench.produce(records, partition=one_partition)
    return bench


@pytest.fixture
def odd_role(timed: Bench) -> Iterator[Bench]:
    """The stream under a role of its own whose settings are odd."""
    role = f"r_{timed.name}"
    timed.query(f"CREATE ROLE {role} LOGIN PASSWORD 'secret' IN ROLE CURRENT_USER")
    try:
        for name, value in ODD_SETTINGS.items():
            timed.query(f"ALTER ROLE {role} SET {name} = '{value}'")
        yield timed.with_postgres(user=role, password=SecretStr("secret"))
    finally:
        timed.query(f"DROP OWNED BY {role} CASCADE")
        timed.query(f"DROP ROLE {role}")


def assert_read_alike(bench: Bench) -> None:
    assert bench.load().counts.rows == len(READINGS)
    kafka_time = {"kafka_time": "2023-11-14 22:13:20.123+00"}
    assert fates_by_offset(bench, list(COLUMNS)) == {
        offset: {column: shown, **kafka_time} for offset, (column, _, shown) in enumerate(READINGS)
    }


def test_moments_land_right_in_a_plain_environment(timed: Bench) -> None:
    assert_read_alike(timed)


def test_moments_land_right_whatever_zone_the_client_has(
    timed: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Chatham")
    monkeypatch.setenv("PGTZ", "America/St_Johns")
    monkeypatch.setenv("PGDATESTYLE", "German")
    time.tzset()
    try:
        assert timed.query("SHOW timezone") == [("America/St_Johns",)]
        assert_read_alike(timed)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_moments_land_right_whatever_options_the_client_has(
    timed: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [f"-c {name}={value}" for name, value in ODD_SETTINGS.items()]
    monkeypatch.setenv("PGOPTIONS", " ".join(options))
    assert timed.query("SHOW intervalstyle") == [("sql_standard",)]
    assert_read_alike(timed)


def test_moments_land_right_whatever_settings_the_role_has(odd_role: Bench) -> None:
    assert odd_role.query("SHOW timezone_abbreviations") == [("Australia",)]
    assert_read_alike(odd_role)


def test_a_moment_out_of_range_is_a_dead_letter(bench: Bench) -> None:
    late = ("9224318016000000", "9223372036854775807", "1e30", "-210866803200001")
    strings = {
        '"294277-01-01T00:00:00Z"': "22008",
        '"4715-01-01 BC"': "22008",
        '"2023-02-30"': "22008",
        '"no moment"': "22007",
        '""': "22007",
    }
    columns = {"moment": "timestamptz", "wall": "timestamp", "day": "date"}
    bench.create_topic(1)
    create_table(bench, columns)
    records = [record_of(column, literal) for literal in late for column in columns]
    records += [record_of("moment", literal) for literal in strings]
    assert load_fates(bench, list(columns), records) == [
        *[Dead("encode", "out_of_range", column) for _ in late for column in columns],
        *[
            Dead("write", "rejected_by_postgresql", "moment", sqlstate)
            for sqlstate in strings.values()
        ],
    ]


def test_a_number_finer_than_a_microsecond_is_a_dead_letter_and_not_rounded(bench: Bench) -> None:
    bench.create_topic(1)
    create_table(bench, {"moment": "timestamptz"})
    records = [record_of("moment", text) for text in ("1700000000123.4567", "0.0001", "1e-400")]
    assert load_fates(bench, ["moment"], records) == [Dead("encode", "wrong_type", "moment")] * 3
