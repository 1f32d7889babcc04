"""``plan``, ``status``, ``lag``, ``peek``, ``verify``: they tell the truth and change nothing."""

import json
import re

import pytest
from confluent_kafka import Producer

from kafka_pg_pipeline.domain.policies import Evolution
from kafka_pg_pipeline_tests.cli.conftest import CommandLine
from kafka_pg_pipeline_tests.fix_streams import Bench

LOOKS = ("plan", "status", "lag", "peek", "verify")


def events(count: int, **more: object) -> list[dict[str, object]]:
    return [{"id": number, "name": f"event {number}", **more} for number in range(count)]


@pytest.fixture
def filled(bench: Bench) -> Bench:
    """300 events on 3 partitions, nothing loaded."""
    bench.create_topic()
    bench.produce(events(300))
    return bench


@pytest.mark.parametrize("look", LOOKS)
def test_looking_at_a_new_stream_creates_nothing(
    command_line: CommandLine, filled: Bench, look: str
) -> None:
    command_line.use(filled)
    finished = command_line.run(look, filled.name)
    assert finished.code == 0, finished.err
    assert filled.query("SELECT to_regclass(%s)", filled.stream.table) == [(None,)]
    schema = filled.endpoints.postgres.schema_name
    assert filled.query("SELECT FROM pg_namespace WHERE nspname = %s", schema) == []


@pytest.mark.parametrize("look", LOOKS)
def test_looking_changes_no_position_and_no_row(
    command_line: CommandLine, filled: Bench, look: str
) -> None:
    filled.load(max_records=100)
    before = filled.query("SELECT * FROM {schema}.state ORDER BY partition")
    command_line.use(filled)
    assert command_line.run(look, filled.name, "--json").code == 0
    assert filled.query("SELECT * FROM {schema}.state ORDER BY partition") == before
    assert filled.query("SELECT count(*) FROM {schema}.audit") == [(1,)]
    assert filled.count() == 100


def test_plan_shows_ranges_and_the_table_it_would_create(
    command_line: CommandLine, filled: Bench
) -> None:
    command_line.use(filled)
    (plan,) = command_line.run("plan", "--json").json["streams"]
    assert plan["records"] == 300
    assert [(r["start_offset"], r["end_offset"]) for r in plan["ranges"]] == [(0, 100)] * 3
    assert "migration 0001" in plan["statements"][0]
    create = plan["statements"][-1]
    assert create.startswith("CREATE TABLE")
    assert '"id" bigint' in create
    text = command_line.run("plan").out
    assert "would read 300 offsets of 3 partitions" in text
    assert "CREATE TABLE" in text
    filled.load()
    assert "nothing to read" in command_line.run("plan").out


def test_planned_statement_is_the_one_that_runs(command_line: CommandLine, filled: Bench) -> None:
    command_line.use(filled)
    (plan,) = command_line.run("plan", "--json").json["streams"]
    command_line.run("load")
    (ran,) = filled.query("SELECT detail->>'ddl' FROM {schema}.audit WHERE action = 'create-table'")
    assert ran[0] == plan["statements"][-1]


def test_plan_names_fields_without_a_column_and_what_would_be_rejected(
    command_line: CommandLine, bench: Bench
) -> None:
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id bigint, kafka_partition int, kafka_offset bigint)")
    bench.produce([*events(8), b"no json", {"id": "many"}])
    command_line.use(bench.with_stream(evolution=Evolution.FREEZE))
    (plan,) = command_line.run("plan", "--json").json["streams"]
    assert plan["untaken"] == {"name": 8}
    assert plan["rejected"] == {"invalid_json": 1, "wrong_type": 1}
    assert all(text.startswith("-- migration") for text in plan["statements"])
    text = command_line.run("plan").out
    assert "field 'name' has no column: in 8 of 10 records" in text


def test_plan_shows_how_the_table_would_follow_its_records(
    command_line: CommandLine, bench: Bench
) -> None:
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id integer, kafka_partition int, kafka_offset bigint)")
    bench.produce([*events(8), {"id": 2**40}])
    command_line.use(bench.with_stream(evolution=Evolution.WIDEN))
    (plan,) = command_line.run("plan", "--json").json["streams"]
    *_, added, widened = plan["statements"]
    assert added.endswith(' ADD COLUMN IF NOT EXISTS "name" text')
    assert widened.endswith(' ALTER COLUMN "id" TYPE bigint')
    assert (plan["untaken"], plan["rejected"]) == ({}, {})
    columns = "SELECT count(*) FROM information_schema.columns WHERE table_schema = %s"
    assert bench.query(columns, bench.stream.table.partition(".")[0]) == [(3,)]


def test_plan_says_what_would_stop_the_run(command_line: CommandLine, filled: Bench) -> None:
    filled.query("CREATE TABLE {table} (id bigint)")
    command_line.use(filled)
    finished = command_line.run("plan")
    assert finished.code == 1
    assert "has no column 'kafka_partition', 'kafka_offset'" in finished.err


def test_status_shows_the_account(command_line: CommandLine, filled: Bench) -> None:
    filled.produce([b"no json"], partition=lambda _: 0)
    filled.load(run_id="some-run")
    filled.produce(events(30))
    command_line.use(filled)
    (status,) = command_line.run("status", "--json").json["streams"]
    assert status["lag"]["readable"] == 30
    assert [partition["next_offset"] for partition in status["stored"]] == [101, 100, 100]
    assert [partition["dead_letters"] for partition in status["stored"]] == [1, 0, 0]
    assert status["batches"][0]["run_id"] == "some-run"
    assert status["problem"] is None
    text = command_line.run("status").out
    assert "30 offsets behind" in text
    assert "some-run" in text


def test_status_of_a_stream_whose_topic_is_gone_shows_what_is_stored(
    command_line: CommandLine, filled: Bench
) -> None:
    filled.load()
    filled.delete_topic()
    command_line.use(filled)
    finished = command_line.run("status")
    assert finished.code == 1
    assert "cannot go on: topic" in finished.out
    assert " 100 " in finished.out


def test_lag_keeps_what_an_open_transaction_blocks_apart(
    command_line: CommandLine, filled: Bench
) -> None:
    filled.load()
    filled.produce(events(6))
    producer = Producer(
        {"bootstrap.servers": filled.bootstrap_servers, "transactional.id": filled.name}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for _ in range(5):
        producer.produce(filled.stream.topic, value=json.dumps({"id": 1}), partition=1)
    producer.flush(30)
    command_line.use(filled)
    try:
        (lag,) = command_line.run("lag", "--json").json["streams"]
    finally:
        producer.abort_transaction(30)
    assert (lag["readable"], lag["blocked"]) == (6, 5)
    assert 0 <= lag["seconds"] < 60
    assert [partition["blocked"] for partition in lag["partitions"]] == [0, 5, 0]


def test_lag_in_seconds_is_the_age_of_the_oldest_unread_record(
    command_line: CommandLine, bench: Bench
) -> None:
    bench.create_topic(partitions=1)
    producer = Producer({"bootstrap.servers": bench.bootstrap_servers})
    producer.produce(bench.stream.topic, value=b"{}", timestamp=1_600_000_000_000)
    producer.flush(30)
    command_line.use(bench)
    (lag,) = command_line.run("lag", "--json").json["streams"]
    assert lag["seconds"] > 100_000_000
    assert " d " in command_line.run("lag").out


def test_peek_shows_rows_as_they_land(command_line: CommandLine, bench: Bench) -> None:
    tricky = "tab\t backslash\\ newline\n null \\N ünï €"
    bench.create_topic(partitions=1)
    bench.produce(
        [{"id": 1, "name": tricky}, {"id": 2, "name": None}, b"no json"], partition=lambda _: 0
    )
    command_line.use(bench)
    (peek,) = command_line.run("peek", bench.name, "--json").json["streams"]
    rows = [record["row"] for record in peek["records"]]
    assert peek["unread"]
    assert rows[0]["name"] == tricky
    assert rows[1]["name"] is None
    assert peek["records"][2]["rejected"].startswith("invalid_json")
    bench.load()
    landed = bench.query("SELECT id::text, name FROM {table} ORDER BY id")
    assert landed == [(row["id"], row["name"]) for row in rows[:2]]


def test_peek_takes_partition_offset_and_number(command_line: CommandLine, filled: Bench) -> None:
    command_line.use(filled)
    peek = ("peek", filled.name, "--json")
    (found,) = command_line.run(*peek, "-p", "2", "-O", "97", "-n", "2").json["streams"]
    assert [(r["partition"], r["offset"]) for r in found["records"]] == [(2, 97), (2, 98)]
    (found,) = command_line.run(*peek, "-n", "7").json["streams"]
    assert len(found["records"]) == 7
    filled.load()
    (found,) = command_line.run(*peek, "-n", "3").json["streams"]
    assert not found["unread"]
    assert [record["offset"] for record in found["records"]] == [99, 99, 99]
    wrong = command_line.run("peek", filled.name, "-p", "7")
    assert (wrong.code, "has no partition 7" in wrong.err) == (2, True)
    wrong = command_line.run("peek", filled.name, "-O", "100")
    assert (wrong.code, "offset 100 is not in the log" in wrong.err) == (2, True)


def test_verify_finds_a_row_that_is_there_twice(command_line: CommandLine, filled: Bench) -> None:
    filled.load()
    command_line.use(filled)
    assert command_line.run("verify").code == 0
    filled.query("INSERT INTO {table} SELECT * FROM {table} WHERE kafka_offset = 7")
    finished = command_line.run("verify")
    assert finished.code == 1
    assert "BROKEN" in finished.out
    assert f"{filled.stream.topic}[0]@7" in finished.out
    (found,) = command_line.run("verify", "--json").json["streams"]
    assert not found["ok"]


def test_tables_fit_a_terminal_of_100_columns(command_line: CommandLine, filled: Bench) -> None:
    filled.load(run_id="0f7c2b6e-8d0e-4d3c-9a50-0a4a3a0f7f11")
    filled.produce(events(3))
    command_line.use(filled)
    for look in LOOKS:
        out = command_line.run_in_terminal(look, filled.name).out
        lines = re.sub(r"\x1b\[[0-9;]*m|\r", "", out).split("\n")
        tables = [line for line in lines if "->" not in line and "CREATE" not in line]
        assert max(map(len, tables)) <= 100
        assert "…" not in out


def test_a_number_is_never_cut_short_by_a_narrow_terminal(
    command_line: CommandLine, filled: Bench
) -> None:
    filled.load(run_id="0f7c2b6e-8d0e-4d3c-9a50-0a4a3a0f7f11")
    command_line.use(filled)
    command_line.environment["COLUMNS"] = "40"
    finished = command_line.run("status")
    assert "…" not in finished.out
    assert "partition   position   end   lag" in finished.out


def test_a_table_that_is_gone_is_told_by_every_look(
    command_line: CommandLine, filled: Bench
) -> None:
    """Dropped, or `table` was changed in the file: also where nothing is new."""
    filled.load()
    schema = filled.stream.table.partition(".")[0]
    command_line.use(filled.with_stream(table=f"{schema}.renamed"))
    for command in ("load", "plan", "status", "lag", "doctor"):
        finished = command_line.run(command)
        assert finished.code == 1, command
        assert "does not exist, though rows were loaded" in finished.out + finished.err


def test_plan_says_that_the_run_would_stop_for_too_many_rejected_records(
    command_line: CommandLine, filled: Bench
) -> None:
    filled.query("CREATE TABLE {table} (name bigint, kafka_partition int, kafka_offset bigint)")
    command_line.use(filled)
    finished = command_line.run("plan")
    assert "the run would stop: 300 of the records looked at would be rejected" in finished.out
    assert command_line.run("load").code == 1
