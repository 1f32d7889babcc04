"""Records that cannot become rows: stored with their batch, neighbours landed, within a budget."""

import threading
from typing import Any

import pytest
from confluent_kafka import Producer
from pydantic import SecretStr

from kafka_pg_pipeline.domain.batches import WriteResult
from kafka_pg_pipeline.errors import (
    AuthenticationError,
    ContentionError,
    DeadLetterBudgetError,
    InvariantError,
)
from kafka_pg_pipeline.pipeline import load
from kafka_pg_pipeline.pipeline.plan import freeze_plan
from kafka_pg_pipeline.settings.models import BatchSettings, DeadLetterSettings
from kafka_pg_pipeline_tests.fix_streams import Bench

CANARY = "canary-7b1e09"
LETTERS = (
    "SELECT record_offset, stage, reason, column_name, sqlstate FROM {schema}.dead_letter"
    " ORDER BY record_offset"
)


def one_partition(_: int) -> int:
    return 0


def test_a_dead_letter_keeps_coordinates_bytes_and_reason(bench: Bench) -> None:
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)")
    good: list[Any] = [{"id": number} for number in range(100)]
    bench.produce([*good, b"{broken", {"id": "abc"}, {"id": 2**40}], partition=one_partition)
    report = bench.load()
    assert (report.counts.rows, report.counts.dead) == (100, 3)
    assert bench.query(LETTERS) == [
        (100, "decode", "invalid_json", None, None),
        (101, "encode", "wrong_type", "id", None),
        (102, "encode", "out_of_range", "id", None),
    ]
    stored = bench.query("SELECT value, key, header_keys FROM {schema}.dead_letter ORDER BY id")
    assert [(bytes(value), key, headers) for value, key, headers in stored] == [
        (b"{broken", None, []),
        (b'{"id": "abc"}', None, []),
        (b'{"id": %d}' % 2**40, None, []),
    ]
    bench.assert_exactly_once()


def test_what_only_postgresql_rejects_is_found_on_the_plain_path(bench: Bench) -> None:
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (id uuid, n integer CHECK (n < 1000),"
        " kafka_partition integer, kafka_offset bigint)"
    )
    uuid = "00000000-0000-0000-0000-0000000000%02d"
    values: list[Any] = [{"id": uuid % number, "n": number} for number in range(60)]
    values[7]["id"] = "no uuid"
    values[8]["id"] = "nor this"
    values[31]["n"] = 5000
    bench.produce(values, partition=one_partition)
    report = bench.load()
    assert (report.counts.rows, report.counts.dead) == (57, 3)
    assert bench.query(LETTERS) == [
        (7, "write", "rejected_by_postgresql", "id", "22P02"),
        (8, "write", "rejected_by_postgresql", "id", "22P02"),
        (31, "write", "rejected_by_postgresql", "events_n_check", "23514"),
    ]
    bench.assert_exactly_once()


def test_what_only_postgresql_rejects_is_found_on_the_staged_path(bench: Bench) -> None:
    bench.create_topic()
    parent = bench.stream.table + "_parent"
    bench.query(f"CREATE TABLE {parent} (id integer PRIMARY KEY)")
    bench.query(f"INSERT INTO {parent} SELECT generate_series(0, 99)")
    bench.query(
        f"CREATE TABLE {{table}} (id integer PRIMARY KEY, parent integer REFERENCES {parent},"
        " at timestamptz, kafka_partition integer, kafka_offset bigint)"
    )
    values: list[Any] = [{"id": number, "parent": number % 100} for number in range(200)]
    values[3] = {"id": 2, "parent": 1}
    values[50]["parent"] = 1234
    values[51]["at"] = "no time"
    bench.produce(values, partition=one_partition)
    report = bench.load()
    assert (report.counts.rows, report.counts.dead) == (197, 3)
    assert bench.query(LETTERS) == [
        (3, "write", "rejected_by_postgresql", "events_pkey", "23505"),
        (50, "write", "rejected_by_postgresql", "events_parent_fkey", "23503"),
        (51, "write", "rejected_by_postgresql", "at", "22007"),
    ]
    bench.assert_exactly_once()


def test_a_deferred_constraint_is_heard_before_commit(bench: Bench) -> None:
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED,"
        " kafka_partition integer, kafka_offset bigint)"
    )
    bench.produce([{"id": 1}, {"id": 2}, {"id": 1}], partition=one_partition)
    report = bench.load()
    assert (report.counts.rows, report.counts.dead) == (2, 1)
    bench.assert_exactly_once()


def test_over_budget_nothing_lands_and_nothing_moves(bench: Bench) -> None:
    budget = DeadLetterSettings(max_records=5)
    bench = bench.with_stream(dead_letters=budget, batch=BatchSettings(max_rows=1000))
    bench.create_topic()
    bench.produce([{"id": 1}])
    bench.load()
    positions = bench.positions()
    values: list[Any] = [{"id": number} for number in range(200)]
    bench.produce([*values, *[b"broken"] * 6], partition=one_partition)
    with pytest.raises(DeadLetterBudgetError, match="6 or more records of one batch"):
        bench.load()
    assert (bench.count(), bench.positions()) == (1, positions)
    assert bench.query("SELECT count(*) FROM {schema}.dead_letter") == [(0,)]


def test_a_share_over_budget_counts_what_postgresql_rejects_too(bench: Bench) -> None:
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id uuid, kafka_partition integer, kafka_offset bigint)")
    bench.produce([{"id": "no uuid"} for _ in range(150)], partition=one_partition)
    with pytest.raises(DeadLetterBudgetError):
        bench.load()
    assert bench.count() == 0
    assert set(bench.positions().values()) == {0}


def test_a_missing_right_is_no_records_fault(bench: Bench) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}])
    bench.load()
    positions = bench.positions()
    bench.produce([{"id": 2}, b"broken", {"id": "abc"}], partition=one_partition)
    role = f"r_{bench.name}"
    schema, pipeline = bench.stream.table.partition(".")[0], bench.endpoints.postgres.schema_name
    bench.query(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    try:
        bench.query(f"GRANT USAGE ON SCHEMA {schema}, {pipeline} TO {role}")
        bench.query(f"GRANT ALL ON ALL TABLES IN SCHEMA {pipeline} TO {role}")
        poor = bench.with_postgres(user=role, password=SecretStr("secret"))
        with pytest.raises(AuthenticationError, match="42501"):
            poor.load()
        assert bench.positions() == positions
        assert bench.query("SELECT count(*) FROM {schema}.dead_letter") == [(0,)]
    finally:
        bench.query(f"DROP OWNED BY {role}")
        bench.query(f"DROP ROLE {role}")


def test_rounds_of_one_run_share_its_budget(bench: Bench) -> None:
    """The connection is lost after each batch, so that each of the next is of another round."""
    bench = bench.with_stream(
        dead_letters=DeadLetterSettings(max_run_records=3),
        batch=BatchSettings(max_rows=20, max_seconds=0.2),
    )
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)")
    values: list[Any] = [{"id": n} if n % 20 else {"id": "bad"} for n in range(100)]
    bench.produce(values, partition=one_partition)
    rounds = []

    def lose_connection(_: WriteResult) -> None:
        rounds.append(
            bench.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE %s AND pid <> pg_backend_pid()",
                f"%{bench.name}%",
            )
        )

    with bench.session() as session:
        plan = freeze_plan(session.name, session.stream, session.inspector)
        with pytest.raises(DeadLetterBudgetError, match="4 or more records of one run"):
            session.loader.load(plan, stop=threading.Event(), listener=lose_connection)
    assert len(rounds) == 3
    assert (bench.count(), bench.positions()[0]) == (57, 60)
    assert bench.query("SELECT count(*) FROM {schema}.dead_letter") == [(3,)]
    assert bench.findings() == []


def test_the_next_run_counts_anew(bench: Bench) -> None:
    bench = bench.with_stream(dead_letters=DeadLetterSettings(max_run_records=2))
    bench.create_topic()
    for number in range(3):
        bench.produce([b"broken"] * 2 + [{"id": 1}])
        assert bench.load(run_id=f"run {number}").counts.dead == 2
    bench.assert_exactly_once()


def test_a_unique_index_over_the_offsets_is_an_alarm(bench: Bench) -> None:
    bench.create_topic()
    bench.produce([{"id": number} for number in range(10)], partition=one_partition)
    bench.load()
    bench.query("ALTER TABLE {table} ADD UNIQUE (kafka_partition, kafka_offset)")
    pipeline = bench.endpoints.postgres.schema_name
    # Rows restored without the pipeline's schema: the position is behind what is there.
    bench.query(
        f"UPDATE {pipeline}.state SET next_offset = 5, tail_offset = NULL WHERE partition = 0"
    )
    with pytest.raises(InvariantError, match=r"\[0\]@5 is already in"):
        bench.load()
    assert bench.count() == 10
    assert bench.positions()[0] == 5


def test_no_content_of_a_record_is_in_an_error_or_on_standard_error(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    bench = bench.with_stream(dead_letters=DeadLetterSettings(max_records=0, max_share=0))
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (id uuid UNIQUE, kafka_partition integer, kafka_offset bigint)"
    )
    bench.produce([{"id": CANARY}])
    with pytest.raises(DeadLetterBudgetError) as caught:
        bench.load()
    said = capfd.readouterr()
    assert CANARY not in str(caught.value) + repr(caught.value.__cause__) + said.err + said.out


def test_a_dead_letter_keeps_every_byte_of_key_value_and_headers(bench: Bench) -> None:
    bench.create_topic()
    awkward = bytes(range(256)) + b"\\x41\\N\t\n"
    headers = [('ä\\"{,}', awkward), ("x", None), ("x", b""), ("", b"\\")]
    producer = Producer({"bootstrap.servers": bench.bootstrap_servers})
    for key, value in ((awkward, awkward), (None, b""), (b"", b"{broken")):
        producer.produce(bench.stream.topic, value, key=key, headers=headers, partition=0)
    assert producer.flush(30) == 0
    bench.query("CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)")
    assert bench.load().counts.dead == 3
    stored = bench.query(
        "SELECT key, value, header_keys, header_values FROM {schema}.dead_letter ORDER BY id"
    )
    expected_headers = ([name.encode() for name, _ in headers], [value for _, value in headers])
    found = [
        (plain(key), plain(value), ([*map(plain, names)], [*map(plain, values)]))
        for key, value, names, values in stored
    ]
    assert found == [
        (awkward, awkward, expected_headers),
        (None, b"", expected_headers),
        (b"", b"{broken", expected_headers),
    ]


def plain(value: memoryview | None) -> bytes | None:
    return None if value is None else bytes(value)


@pytest.mark.parametrize("constraint", ["", "PRIMARY KEY"], ids=["plain", "staged"])
def test_records_may_leave_out_defaults_in_any_combination(bench: Bench, constraint: str) -> None:
    names = [f"c{number}" for number in range(10)]
    columns = ", ".join(f"{name} integer DEFAULT 7" for name in names)
    bench.create_topic()
    bench.query(
        f"CREATE TABLE {{table}} (id integer {constraint}, {columns},"
        " kafka_partition integer, kafka_offset bigint)"
    )
    records = [
        {"id": number, **{name: 1 for place, name in enumerate(names) if number >> place & 1}}
        for number in range(1024)
    ]
    bench.produce(records)
    assert bench.load().counts.rows == 1024
    assert bench.query(f"SELECT sum({' + '.join(names)}) FROM {{table}}") == [(512 * 10 * 8,)]
    bench.assert_exactly_once()


def test_rows_that_collide_though_they_fill_other_columns_are_told_apart(bench: Bench) -> None:
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (id integer PRIMARY KEY, n integer DEFAULT 7,"
        " kafka_partition integer, kafka_offset bigint)"
    )
    bench.produce([{"id": 1}, {"id": 2, "n": 1}, {"id": 1, "n": 2}], partition=one_partition)
    report = bench.load()
    assert (report.counts.rows, report.counts.dead) == (2, 1)
    assert bench.query(LETTERS)[0][1:3] == ("write", "rejected_by_postgresql")
    bench.assert_exactly_once()


@pytest.mark.parametrize("constraint", ["", "PRIMARY KEY"], ids=["plain", "staged"])
def test_many_rejected_rows_are_found_each(bench: Bench, constraint: str) -> None:
    bench.create_topic()
    bench.query(
        f"CREATE TABLE {{table}} (id integer {constraint} CHECK (id % 37 <> 0),"
        " kafka_partition integer, kafka_offset bigint)"
    )
    bench.produce([{"id": number} for number in range(1, 8001)], partition=one_partition)
    report = bench.load()
    rejected = [number for number in range(1, 8001) if number % 37 == 0]
    assert (report.counts.rows, report.counts.dead) == (8000 - len(rejected), len(rejected))
    assert bench.query("SELECT record_offset + 1 FROM {schema}.dead_letter ORDER BY 1") == [
        (number,) for number in rejected
    ]
    bench.assert_exactly_once()


def test_a_database_error_brings_no_row_along(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver's error quotes the row, also as the context of ours."""
    monkeypatch.setattr(load, "PATIENCE_SECONDS", 0.0)
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id text, kafka_partition integer, kafka_offset bigint)")
    bench.trigger_before_inserts("RAISE lock_not_available USING MESSAGE = NEW.id;")
    bench.produce([{"id": CANARY}])
    with pytest.raises(ContentionError) as caught:
        bench.load()
    error: BaseException | None = caught.value
    while error is not None:
        assert CANARY not in str(error)
        error = error.__cause__ or error.__context__


def test_a_column_of_the_name_by_which_fences_are_known_is_the_tables_own(bench: Bench) -> None:
    bench.create_topic(partitions=1)
    bench.query(
        "CREATE TABLE {table} (id integer, next_offset bigint NOT NULL, kafka_partition integer,"
        " kafka_offset bigint)"
    )
    bench.trigger_before_inserts("IF NEW.id = 3 THEN NEW.next_offset := NULL; END IF; RETURN NEW;")
    bench.produce([{"id": n, "next_offset": n} for n in range(5)], partition=one_partition)
    report = bench.load()
    assert (report.counts.rows, report.counts.dead) == (4, 1)
    assert bench.query("SELECT sqlstate, column_name FROM {schema}.dead_letter") == [
        ("23502", "next_offset")
    ]
    assert bench.findings() == []
