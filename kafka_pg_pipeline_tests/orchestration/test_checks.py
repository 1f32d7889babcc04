"""The checks of the tables: each passes on a healthy stream, and fails on one that is broken."""

import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
import pytest

from kafka_pg_pipeline.local.ports import pick_free
from kafka_pg_pipeline.orchestration.streams import JOB_TAG
from kafka_pg_pipeline_tests.encoding import FakeRecord
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker
from kafka_pg_pipeline_tests.orchestration.conftest import Location
from kafka_pg_pipeline_tests.topics import delete_before, open_transaction, recreate

QUICK = {"no_gap", "tiling", "completeness", "lag", "freshness", "dead_letter_share"}
FROM_KAFKA = {"no_gap", "lag", "freshness"}
TABLE = "table_matches_ledger"
PASSED, WARNED, FAILED = "passed", "warned", "failed"
CANARY = "canary-1f0c9a2b"


@dataclass(frozen=True)
class Found:
    """What Dagster's instance has of one run's evaluations of a stream's checks."""

    run: dg.DagsterRun
    evaluations: dict[str, dg.AssetCheckEvaluation]

    def outcome(self, check: str) -> str:
        evaluation = self.evaluations[check]
        if evaluation.passed:
            return PASSED
        return WARNED if evaluation.severity is dg.AssetCheckSeverity.WARN else FAILED

    @property
    def bad(self) -> dict[str, str]:
        every = {check: self.outcome(check) for check in self.evaluations}
        return {check: outcome for check, outcome in every.items() if outcome != PASSED}

    def text(self, check: str) -> str:
        return str(self.evaluations[check].description)

    def metadata(self, check: str) -> dict[str, Any]:
        return {key: value.value for key, value in self.evaluations[check].metadata.items()}

    def cure(self, check: str) -> str:
        return str(self.metadata(check)["kafka/cure"])


def key_of(bench: Bench) -> dg.AssetKey:
    return dg.AssetKey(bench.stream.table.split("."))


def look(
    location: Location, instance: dg.DagsterInstance, bench: Bench, job: str = "check_streams"
) -> Found:
    """Run a job of checks, and read what the instance knows of one stream afterwards."""
    result = location.job(job).execute_in_process(instance=instance, raise_on_error=False)
    return read(instance, bench, result.run_id)


def press(
    location: Location, instance: dg.DagsterInstance, bench: Bench, checks: Collection[str]
) -> Found:
    """What the button beside a check does: a run of these alone, of no job that has a name."""
    job = location.definitions.resolve_implicit_global_asset_job_def()
    wanted = {dg.AssetCheckKey(key_of(bench), check) for check in checks}
    subset = job.get_subset(asset_selection=set(), asset_check_selection=wanted)
    result = subset.execute_in_process(instance=instance, raise_on_error=False)
    return read(instance, bench, result.run_id)


def read(instance: dg.DagsterInstance, bench: Bench, run_id: str) -> Found:
    found = {}
    for record in instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ).records:
        event = record.event_log_entry.dagster_event
        assert event is not None
        evaluation = event.event_specific_data
        assert isinstance(evaluation, dg.AssetCheckEvaluation)
        if evaluation.asset_key == key_of(bench):
            found[evaluation.check_name] = evaluation
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return Found(run, found)


def seconds_ago(seconds: float) -> FakeRecord:
    """A record that its producer has given that age."""
    return FakeRecord(b'{"id": 1}', timestamp=round((time.time() - seconds) * 1000))


@pytest.fixture
def loaded(bench: Bench) -> Bench:
    """Three batches, each of ten rows in each of three partitions."""
    bench.create_topic()
    for batch in range(3):
        bench.produce([{"id": batch * 30 + number} for number in range(30)])
        bench.load()
    return bench


def test_a_healthy_stream_passes_all_checks_and_loads_run_none(
    loaded: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    location = make_location(loaded)
    load = location.job(f"load_{loaded.name}").execute_in_process(instance=instance)
    assert read(instance, loaded, load.run_id).evaluations == {}
    found = look(location, instance, loaded)
    assert set(found.evaluations) == QUICK
    assert found.bad == {}
    assert found.metadata("lag") == {"kafka/lag": 0, "kafka/blocked": 0}
    assert found.metadata("freshness") == {"kafka/lag_seconds": 0}
    assert found.metadata("tiling") == {"kafka/findings": 0}
    table = look(location, instance, loaded, "check_tables")
    assert set(table.evaluations) == {TABLE}
    assert table.bad == {}
    pressed = press(location, instance, loaded, ["lag", "tiling"])
    assert set(pressed.evaluations) == {"lag", "tiling"}
    assert pressed.run.tags[JOB_TAG] == "check_streams"


def test_a_stream_that_never_loaded_passes(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench.create_topic()
    location = make_location(bench)
    found = look(location, instance, bench)
    assert set(found.evaluations) == QUICK
    assert found.bad == {}
    assert found.text("tiling") == "nothing was loaded yet"
    assert look(location, instance, bench, "check_tables").bad == {}
    assert bench.query("SELECT to_regclass(%s)", bench.endpoints.postgres.schema_name) == [(None,)]


def test_rows_that_somebody_deletes_or_doubles_are_found(
    loaded: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    location = make_location(loaded)
    loaded.query("DELETE FROM {table} WHERE kafka_partition = 1 AND kafka_offset < 4")
    found = look(location, instance, loaded, "check_tables")
    assert found.bad == {TABLE: FAILED}
    topic = loaded.stream.topic
    assert found.text(TABLE) == (
        f"row_counts: {topic}[1]@30: the ledger counts 30 rows and 0 replayed, the table holds 26. "
        f"`kafka-pg verify {loaded.name}` tells all, the runbook what to do"
    )
    assert found.cure(TABLE) == f"kafka-pg verify {loaded.name}"
    assert found.metadata(TABLE)["kafka/findings"] == 1
    [record] = found.metadata(TABLE)["kafka/found"].records
    assert record.data["where"] == f"{topic}[1]@30"
    assert look(location, instance, loaded).bad == {}
    loaded.query("INSERT INTO {table} SELECT * FROM {table} WHERE kafka_offset = 7")
    found = look(location, instance, loaded, "check_tables")
    invariants = [r.data["invariant"] for r in found.metadata(TABLE)["kafka/found"].records]
    assert invariants.count("duplicates") == 3
    loaded.query("DROP TABLE {table}")
    found = look(location, instance, loaded, "check_tables")
    assert found.bad == {TABLE: FAILED}
    assert "does not exist, though rows were loaded" in found.text(TABLE)


def test_a_lost_line_of_the_ledger_breaks_the_tiling(
    loaded: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    location = make_location(loaded)
    loaded.query("DELETE FROM {schema}.ledger WHERE partition = 0 AND start_offset = 10")
    found = look(location, instance, loaded)
    assert found.bad == {"tiling": FAILED}
    assert "interval begins at 20, expected 10" in found.text("tiling")
    assert found.cure("tiling") == f"kafka-pg verify {loaded.name}"
    loaded.query("DELETE FROM {schema}.ledger WHERE partition = 2 AND start_offset = 20")
    found = look(location, instance, loaded)
    assert "; and 1 more finding. " in found.text("tiling")
    assert found.metadata("tiling")["kafka/findings"] == 2


def test_a_lost_dead_letter_is_an_offset_that_nothing_accounts_for(
    loaded: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    loaded.produce([b"no json"], partition=lambda _: 2)
    loaded.load()
    location = make_location(loaded)
    assert "completeness" not in look(location, instance, loaded).bad
    loaded.query("DELETE FROM {schema}.dead_letter")
    found = look(location, instance, loaded)
    assert found.outcome("completeness") == FAILED
    assert "the ledger counts 1 dead letters, 0 are stored" in found.text("completeness")


@pytest.mark.parametrize("on_data_loss", ["fail", "continue"])
def test_what_retention_removed_is_a_gap_until_somebody_accepts_it(
    loaded: Bench, make_location: Any, instance: dg.DagsterInstance, on_data_loss: str
) -> None:
    location = make_location(loaded, **{loaded.name: {"on_data_loss": on_data_loss}})
    job = location.job(f"load_{loaded.name}")
    loaded.produce([{"id": number} for number in range(30)])
    delete_before(loaded, 0, 34)
    for _ in range(2):
        found = look(location, instance, loaded)
        assert found.bad["no_gap"] == FAILED
        assert found.cure("no_gap") == f"kafka-pg accept-gap {loaded.name}"
        numbers = found.metadata("no_gap")
        assert numbers["kafka/lost_offsets"] + numbers["kafka/open_gap_offsets"] == 4
        text = "(4 lost)" if on_data_loss == "fail" else "4 offsets gone from the topic"
        assert text in found.text("no_gap")
        job.execute_in_process(instance=instance, raise_on_error=False)
    with loaded.session() as session:
        snapshot = session.inspector.fetch_snapshot(loaded.stream.topic)
        session.moves.accept_gaps(snapshot, rehearsal=False)
    assert look(location, instance, loaded).bad == {}


def test_a_topic_that_was_created_again_is_told_wherever_offsets_count(
    loaded: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    recreate(loaded)
    found = look(make_location(loaded), instance, loaded)
    assert found.bad == {"no_gap": FAILED, "lag": WARNED, "freshness": WARNED}
    for check in found.bad:
        assert f"kafka-pg accept-topic {loaded.name}" in found.text(check)
    assert found.run.status is dg.DagsterRunStatus.SUCCESS


def test_too_many_dead_letters_fail_until_somebody_resolves_them(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench.create_topic()
    bench.produce([{"id": number} for number in range(98)] + [CANARY.encode()] * 2)
    bench.load()
    location = make_location(bench)
    found = look(location, instance, bench)
    assert found.bad == {"dead_letter_share": WARNED}
    assert "2 of 100 records of the last 24 hours" in found.text("dead_letter_share")
    assert "(2.00%, the limit is 1.00%)" in found.text("dead_letter_share")
    assert found.cure("dead_letter_share") == f"kafka-pg dead-letters list {bench.name}"
    assert found.metadata("dead_letter_share")["kafka/dead_letter_share"] == 0.02
    assert CANARY not in repr(found)
    lenient = make_location(bench, **{bench.name: {"checks": {"dead_letter_share": 0.02}}})
    assert look(lenient, instance, bench).bad == {}
    bench.query(
        "UPDATE {schema}.dead_letter SET resolved_at = now(), resolution = 'discarded',"
        " resolved_by = 'test' WHERE id % 2 = 0"
    )
    found = look(location, instance, bench)
    assert found.bad == {}
    assert found.metadata("dead_letter_share")["kafka/unresolved_dead_letters"] == 1


def test_old_dead_letters_are_told_and_do_not_count(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}] + [b"no json"] * 5)
    bench.load()
    bench.query("UPDATE {schema}.dead_letter SET created_at = now() - interval '25 hours'")
    bench.query("UPDATE {schema}.ledger SET committed_at = now() - interval '25 hours'")
    found = look(make_location(bench), instance, bench)
    assert found.bad == {}
    assert found.text("dead_letter_share").startswith("0 of 0 records of the last 24 hours")
    assert found.text("dead_letter_share").endswith("; with older ones there are 5")


def test_a_lag_over_the_limit_fails_and_says_what_is_in_the_way(
    loaded: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    checks = {"lag_records": 20, "severity": {"lag": "error"}}
    location = make_location(loaded, **{loaded.name: {"checks": checks}})
    loaded.produce([{"id": number} for number in range(20)])
    assert look(location, instance, loaded).bad == {}
    loaded.produce([{"id": 21}])
    found = look(location, instance, loaded)
    assert found.bad == {"lag": FAILED}
    assert found.text("lag") == "21 records to load, the limit is 20"
    assert found.metadata("lag")["kafka/lag"] == 21
    assert found.cure("lag") == f"kafka-pg lag {loaded.name}"
    with open_transaction(loaded, 5) as transaction:
        found = look(location, instance, loaded)
        assert found.text("lag").endswith("; 5 more records behind an open transaction")
        assert found.metadata("lag")["kafka/blocked"] == 5
        transaction.abort_transaction(30)
    loaded.query("DROP TABLE {table}")
    run = location.job(f"load_{loaded.name}").execute_in_process(
        instance=instance, raise_on_error=False
    )
    assert not run.success
    found = look(location, instance, loaded)
    assert "; its last run failed: table t_" in found.text("lag")
    assert found.cure("lag") == f"kafka-pg status {loaded.name}"


def test_a_paused_stream_is_behind_on_purpose(
    loaded: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    checks = {"lag_records": 0, "severity": "error"}
    location = make_location(loaded, **{loaded.name: {"checks": checks}})
    with loaded.session() as session:
        session.moves.pause("looking into the prices, Ada", rehearsal=False)
    told = "looking into the prices, Ada; `kafka-pg resume"
    found = look(location, instance, loaded)
    assert found.bad == {}
    assert told in found.text("lag")
    assert told in found.text("freshness")
    loaded.produce([seconds_ago(3_600)])
    found = look(location, instance, loaded)
    assert found.bad == {"lag": WARNED, "freshness": WARNED}
    assert told in found.text("lag")
    assert found.cure("freshness") == f"kafka-pg resume {loaded.name}"


def test_what_waits_too_long_is_stale_and_a_quiet_topic_is_not(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench.create_topic()
    location = make_location(bench)
    bench.produce([seconds_ago(5_400), {"id": 2}])
    found = look(location, instance, bench)
    assert found.bad == {"freshness": WARNED}
    assert found.text("freshness") == (
        "the oldest record to load is 1 h 30 min old, the limit is 15 min"
    )
    assert 5_400 <= found.metadata("freshness")["kafka/lag_seconds"] < 5_500
    assert found.cure("freshness") == f"kafka-pg lag {bench.name}"
    bench.load()
    bench.query("UPDATE {schema}.state SET updated_at = now() - interval '30 days'")
    bench.query("UPDATE {schema}.ledger SET committed_at = now() - interval '30 days'")
    found = look(location, instance, bench)
    assert found.bad == {}
    assert found.text("freshness") == "every record that may be loaded has landed"
    bench.produce([{"id": 3}])
    assert look(location, instance, bench).bad == {}


def test_a_topic_that_cannot_be_looked_at_holds_up_no_other_stream(
    loaded: Bench, bench_maker: BenchMaker, make_location: Any, instance: dg.DagsterInstance
) -> None:
    lost = bench_maker.make(loaded.endpoints.kafka, loaded.endpoints.postgres)
    location = make_location(loaded, lost)
    found = look(location, instance, lost)
    assert found.run.status is dg.DagsterRunStatus.SUCCESS
    assert found.bad == dict.fromkeys(FROM_KAFKA, FAILED)
    assert found.text("lag").startswith("could not be looked at: ")
    assert lost.stream.topic in found.text("lag")
    assert read(instance, loaded, found.run.run_id).bad == {}
    assert set(read(instance, loaded, found.run.run_id).evaluations) == QUICK
    assert press(location, instance, lost, ["tiling"]).run.status is dg.DagsterRunStatus.SUCCESS
    assert press(location, instance, lost, ["lag"]).run.status is dg.DagsterRunStatus.FAILURE


@pytest.mark.parametrize("server", ["kafka", "postgres"])
def test_a_server_that_is_down_is_asked_once_and_fails_the_run(
    loaded: Bench,
    bench_maker: BenchMaker,
    make_location: Any,
    instance: dg.DagsterInstance,
    server: str,
) -> None:
    other = bench_maker.make(loaded.endpoints.kafka, loaded.endpoints.postgres)
    nowhere = f"127.0.0.1:{pick_free()}"
    down = loaded.with_postgres(port=pick_free())
    if server == "kafka":
        changes = {"bootstrap_servers": nowhere, "request_timeout_seconds": 2.0}
        kafka = loaded.endpoints.kafka.model_copy(update=changes)
        down = replace(loaded, endpoints=replace(loaded.endpoints, kafka=kafka))
    location = make_location(down, other)
    began = time.monotonic()
    found = look(location, instance, loaded)
    assert time.monotonic() - began < 20
    assert found.run.status is dg.DagsterRunStatus.FAILURE
    bad = FROM_KAFKA if server == "kafka" else QUICK
    assert found.bad == dict.fromkeys(bad, FAILED)
    both = read(instance, other, found.run.run_id)
    assert both.bad == found.bad
    assert both.text("lag") == found.text("lag")


def test_a_check_that_is_off_or_can_tell_nothing_does_not_exist(
    bench: Bench, bench_maker: BenchMaker, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench.create_topic()
    plain = bench_maker.make(bench.endpoints.kafka, bench.endpoints.postgres, metadata={})
    plain.create_topic()
    location = make_location(
        bench, plain, **{bench.name: {"checks": {"severity": {"freshness": "off", "lag": "off"}}}}
    )
    found = look(location, instance, bench)
    assert set(found.evaluations) == QUICK - {"freshness", "lag"}
    assert set(read(instance, plain, found.run.run_id).evaluations) == QUICK
    tables = look(location, instance, bench, "check_tables")
    assert set(tables.evaluations) == {TABLE}
    assert read(instance, plain, tables.run.run_id).evaluations == {}


def test_rows_that_overwrite_each_other_are_not_counted(
    bench_maker: BenchMaker, bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    upsert = bench_maker.make(
        bench.endpoints.kafka, bench.endpoints.postgres, mode="upsert", key=["id"]
    )
    upsert.create_topic()
    upsert.produce([{"id": number % 5} for number in range(30)])
    upsert.load()
    found = look(make_location(upsert), instance, upsert, "check_tables")
    assert found.bad == {}
    assert found.text(TABLE) == (
        "the table holds what the ledger says; not checked: row_counts, replayed"
    )
