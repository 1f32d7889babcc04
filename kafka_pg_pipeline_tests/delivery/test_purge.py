"""Retention: what a purge takes away, and that the books say the same before and after."""

import random
import threading
import uuid
from collections.abc import Sequence
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2.extras import execute_values

from kafka_pg_pipeline.adapters.postgres.connection import Primary
from kafka_pg_pipeline.adapters.postgres.purge import PostgresPurge, PurgeLimits
from kafka_pg_pipeline.assembly.purge import open_purge, purge_stream
from kafka_pg_pipeline.domain.letters import LetterFilter
from kafka_pg_pipeline.domain.purging import PurgeReport
from kafka_pg_pipeline.domain.records import Reason
from kafka_pg_pipeline.errors import InvariantError
from kafka_pg_pipeline.settings.models import (
    BatchSettings,
    DeadLetterSettings,
    RetentionSettings,
)
from kafka_pg_pipeline_tests.fix_servers import connect
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.topics import delete_before

LIMITS = PurgeLimits(ledger_days=90, letter_days=30)
TABLE = "CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)"
AGE_LINES = "UPDATE {schema}.ledger SET committed_at = committed_at - interval '100 days'"
AGE_LETTERS = "UPDATE {schema}.dead_letter SET resolved_at = resolved_at - interval '100 days'"
COUNTS = (
    "rows",
    "superseded",
    "ignored",
    "deleted",
    "dead",
    "filtered",
    "absent",
    "record_bytes",
    "purged_dead",
    "purged_replayed",
)
TOTALS = (
    "SELECT partition, incarnation, epoch, min(start_offset), max(next_offset), "
    + ", ".join(f"sum({name})::bigint" for name in COUNTS)
    + " FROM {schema}.ledger GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
)


def purge(bench: Bench, limits: PurgeLimits = LIMITS, *, dry_run: bool = False) -> PurgeReport:
    retention = RetentionSettings(
        ledger_days=limits.ledger_days, dead_letters_days=limits.letter_days
    )
    with open_purge(bench.endpoints, retention) as opened:
        chosen = PostgresPurge(opened._primary, limits)
        return purge_stream(chosen, bench.name, dry_run=dry_run)


def count_lines(bench: Bench) -> int:
    return int(bench.query("SELECT count(*) FROM {schema}.ledger")[0][0])


@pytest.fixture
def aged(bench: Bench) -> Bench:
    """Many old lines on three partitions with dead letters and a gap, and a few young ones.

    Four letters were replayed and two discarded long ago; some are unresolved.
    """
    bench = bench.with_stream(
        batch=BatchSettings(max_rows=10),
        dead_letters=DeadLetterSettings(max_share=1.0),
        on_data_loss="continue",
    )
    bench.create_topic()
    bench.query(TABLE)
    values: list[Any] = [{"id": number} for number in range(300)]
    for number in (7, 8, 20, 21):
        values[number] = {"id": 2**40}
    values[100] = values[101] = b"broken"
    values[200] = values[250] = {"id": "word"}
    bench.produce(values)
    bench.load()
    bench.produce([{"id": number} for number in range(60)])
    for partition in range(3):
        delete_before(bench, partition, 110)
    bench.load()
    bench.query("ALTER TABLE {table} ALTER id TYPE bigint")
    with bench.session() as session:
        assert session.replay.replay(LetterFilter(reason=Reason.OUT_OF_RANGE)).counts.replayed == 4
        discarded = session.letters.discard(
            LetterFilter(reason=Reason.INVALID_JSON), run_id="test", rehearsal=False
        )
        assert sum(discarded.values()) == 2
    bench.query(AGE_LINES)
    bench.query(AGE_LETTERS)
    bench.produce([{"id": number} for number in range(60)])
    bench.load()
    assert bench.findings() == []
    return bench


def test_old_lines_become_few_and_every_sum_stays(aged: Bench) -> None:
    before, lines = aged.query(TOTALS), count_lines(aged)
    assert lines > 20
    report = purge(aged, PurgeLimits(90, 36_500))
    assert report == PurgeReport(aged.name, lines - count_lines(aged), 0)
    # One line for each partition, one for each that has unresolved letters and what lies between
    # them, and the young ones.
    assert count_lines(aged) <= 3 + 2 * 2 + 9
    assert aged.query(TOTALS) == before
    assert aged.findings() == []
    assert purge(aged, PurgeLimits(90, 36_500)).merged_lines == 0


def test_resolved_letters_go_and_the_books_say_so(aged: Bench) -> None:
    assert purge(aged).removed_letters == 6
    assert aged.query("SELECT count(*) FROM {schema}.dead_letter") == [(2,)]
    assert aged.query(
        "SELECT sum(dead)::int, sum(purged_dead)::int, sum(purged_replayed)::int"
        " FROM {schema}.ledger"
    ) == [(8, 6, 4)]
    assert aged.findings() == []
    assert purge(aged) == PurgeReport(aged.name)
    assert aged.query("SELECT detail FROM {schema}.audit WHERE action = 'purge'") == [
        ({"dead_letters": 6, "resolved_days_ago": 30},)
    ]


def test_an_unresolved_letter_stays_however_old_and_can_be_replayed(aged: Bench) -> None:
    aged.query("UPDATE {schema}.dead_letter SET created_at = created_at - interval '9 years'")
    purge(aged)
    assert aged.query("SELECT count(*) FROM {schema}.dead_letter WHERE resolved_at IS NULL") == [
        (2,)
    ]
    aged.query("ALTER TABLE {table} ALTER id TYPE text")
    with aged.session() as session:
        assert session.replay.replay(LetterFilter()).counts.replayed == 2
    assert aged.findings() == []
    aged.query(AGE_LETTERS)
    assert purge(aged).removed_letters == 2
    assert aged.findings() == []


def test_a_row_missing_for_a_purged_replay_is_still_found(aged: Bench) -> None:
    purge(aged)
    aged.query(
        "DELETE FROM {table} WHERE ctid = (SELECT ctid FROM {table} WHERE id = 2^40 LIMIT 1)"
    )
    [finding] = aged.findings()
    assert "row_counts" in finding


def test_a_letter_that_somebody_deleted_is_still_found(aged: Bench) -> None:
    purge(aged)
    aged.query(
        "DELETE FROM {schema}.dead_letter WHERE id = (SELECT min(id) FROM {schema}.dead_letter)"
    )
    [finding] = aged.findings()
    assert "1 dead letters, 0 are stored and 0 were purged" in finding


def test_young_lines_and_letters_stay(aged: Bench) -> None:
    aged.query(AGE_LINES.replace("- interval", "+ interval"))
    aged.query(AGE_LETTERS.replace("- interval", "+ interval"))
    assert purge(aged) == PurgeReport(aged.name)


def test_a_dry_run_says_what_would_go_and_changes_nothing(aged: Bench) -> None:
    before = aged.query("SELECT * FROM {schema}.ledger ORDER BY partition, start_offset")
    small = PurgeLimits(90, 30, most_lines=3, most_letters=2)
    said = purge(aged, small, dry_run=True)
    assert aged.query("SELECT * FROM {schema}.ledger ORDER BY partition, start_offset") == before
    assert said == purge(aged, dry_run=True)
    assert said == purge(aged, small)
    assert said.merged_lines > 10
    assert said.removed_letters == 6


def test_the_newest_line_stays_so_that_the_last_batch_is_known(bench: Bench) -> None:
    bench = bench.with_stream(batch=BatchSettings(max_rows=10))
    bench.create_topic()
    bench.produce([{"id": number} for number in range(90)])
    bench.load()
    bench.query(AGE_LINES)
    with bench.session() as session:
        newest = session.inspection.fetch_last_batches(1)
    purge(bench)
    assert count_lines(bench) == 6
    with bench.session() as session:
        shown = session.inspection.fetch_last_batches(9)
    assert shown[0].batch_id == newest[0].batch_id
    assert all(batch.run_id == "test" for batch in shown)


def test_a_letter_without_a_line_stops_the_purge(aged: Bench) -> None:
    aged.query("UPDATE {schema}.dead_letter SET epoch = 77 WHERE resolution = 'discarded'")
    with pytest.raises(InvariantError, match=r"2 of 6 dead letters .* belong to no line"):
        purge(aged)
    assert aged.query("SELECT count(*) FROM {schema}.dead_letter") == [(8,)]


def test_epochs_and_incarnations_are_kept_apart(aged: Bench) -> None:
    with aged.session() as session:
        target = session.catalog.fetch_target()
        session.moves.reset({0: 120}, target, allow_duplicates=False)
    aged.load()
    aged.query(AGE_LINES)
    before = aged.query(TOTALS)
    purge(aged)
    totals = aged.query(TOTALS)
    assert [row[:12] for row in totals] == [row[:12] for row in before]
    assert aged.findings() == []
    aged.produce([{"id": 1}] * 3)
    aged.load()
    assert aged.findings() == []


def test_windows_of_a_stream_are_purged_with_it_and_others_are_not(aged: Bench) -> None:
    window, other = f"{aged.name}@2026-01-01", f"{aged.name}x"
    for name in (window, other):
        for table in ("epoch", "ledger", "state"):
            columns = [
                column
                for (column,) in aged.query(
                    "SELECT column_name FROM information_schema.columns"
                    " WHERE table_schema = %s AND table_name = %s AND column_name <> 'stream'",
                    aged.endpoints.postgres.schema_name,
                    table,
                )
            ]
            names = ", ".join(columns)
            aged.query(
                f"INSERT INTO {{schema}}.{table} (stream, {names})"
                f" SELECT %s, {names} FROM {{schema}}.{table} WHERE stream = %s",
                name,
                aged.name,
            )
    per_stream = "SELECT count(*) FROM {schema}.ledger WHERE stream = %s"
    before = aged.query(per_stream, other)
    report = purge(aged)
    assert aged.query(per_stream, other) == before
    assert report.merged_lines > before[0][0] - aged.query(per_stream, aged.name)[0][0]
    assert aged.query(per_stream, window)[0][0] < before[0][0]


def test_purges_beside_loads_replays_and_looks_change_nothing(aged: Bench) -> None:
    """Two purges in tiny transactions, while others load, replay and verify."""
    small = PurgeLimits(90, 30, most_lines=2, most_letters=1)
    over = threading.Event()
    found: list[str] = []

    def load() -> int:
        rows = 0
        for number in range(8):
            aged.produce([{"id": 10_000 + number}] * 30)
            rows += aged.load(run_id=f"beside-{number}").counts.rows
        over.set()
        return rows

    def look() -> None:
        while not over.is_set():
            found.extend(aged.findings())

    with ThreadPoolExecutor(4) as pool:
        loading, looking = pool.submit(load), pool.submit(look)
        purging = [pool.submit(purge, aged, small) for _ in range(2)]
        reports = [task.result(120) for task in purging]
        assert loading.result(120) == 240
        looking.result(120)
    assert found == []
    assert sum(report.removed_letters for report in reports) == 6
    assert aged.findings() == []
    assert purge(aged) == PurgeReport(aged.name)


def test_a_purge_waits_for_another_of_the_same_stream(aged: Bench) -> None:
    """A letter is counted in a line that nobody merges meanwhile."""
    primary = Primary(aged.endpoints.postgres, application_name="test")
    first = PostgresPurge(primary, LIMITS)
    with ThreadPoolExecutor(1) as pool:
        with primary.transaction("hold the stream") as cursor:
            cursor.execute(first._purge["lock"], {"stream": aged.name})
            purging = pool.submit(purge, aged)
            with pytest.raises(futures.TimeoutError):
                purging.result(1)
        assert purging.result(30).removed_letters == 6
    primary.close()


# -- any ledger whatever ----------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A line of the ledger as a test invents it; ``gap`` offsets lie between it and the last."""

    gap: int
    length: int
    dead: int
    resolved: bool
    old: bool

    def counts(self, start: int) -> dict[str, int]:
        draw = random.Random(start)
        dead = min(self.dead, self.length)
        counts = dict.fromkeys(COUNTS, 0) | {"dead": dead, "record_bytes": draw.randrange(2**40)}
        for _ in range(self.length - dead):
            counts[draw.choice(COUNTS[:4])] += 1
        return counts


LINES = st.lists(
    st.builds(
        Line,
        gap=st.sampled_from((0, 0, 0, 0, 1, 5)),
        length=st.integers(1, 6),
        dead=st.sampled_from((0, 0, 0, 1, 2)),
        resolved=st.booleans(),
        old=st.sampled_from((True, True, True, False)),
    ),
    min_size=1,
    max_size=25,
)


@pytest.fixture
def empty(bench: Bench) -> Bench:
    bench.create_topic(partitions=1)
    bench.load()
    return bench


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(lines=LINES, most=st.integers(2, 30))
def test_any_ledger_covers_and_counts_the_same_after_a_purge(
    empty: Bench, lines: Sequence[Line], most: int
) -> None:
    invent(empty, lines)
    columns = ", ".join(("start_offset", "next_offset", *COUNTS[:-2]))
    shown = f"SELECT {columns} FROM {{schema}}.ledger ORDER BY start_offset"
    before = empty.query(shown)
    purge(empty, PurgeLimits(90, 36_500, most_lines=most))
    expected: list[list[int]] = []
    for number, (line, row) in enumerate(zip(lines, before, strict=True)):
        may_merge = line.old and (not line.dead or line.resolved) and number < len(lines) - 1
        if may_merge and expected and expected[-1][-1] and expected[-1][1] == row[0]:
            summed = [a + b for a, b in zip(expected[-1][2:-1], row[2:], strict=True)]
            expected[-1] = [expected[-1][0], row[1], *summed, True]
        else:
            expected.append([*row, may_merge])
    assert empty.query(shown) == [tuple(line[:-1]) for line in expected]


def invent(bench: Bench, lines: Sequence[Line]) -> None:
    """Write the lines and their letters in place of what there is."""
    bench.query("TRUNCATE {schema}.ledger, {schema}.dead_letter")
    ledger, letters, at = [], [], 0
    key = (bench.name, bench.stream.topic, 0, 1, 1)
    for line in lines:
        start = at + line.gap
        at = start + line.length
        counts = line.counts(start)
        age = "100 days" if line.old else "1 day"
        batch = str(uuid.uuid4())
        ledger.append((*key, start, at, *counts.values(), batch, "run", "loader", age))
        letters += [
            (batch, *key, start + number, line.resolved) for number in range(counts["dead"])
        ]
    connection = connect(bench.endpoints.postgres)
    schema = bench.endpoints.postgres.schema_name
    with connection.cursor() as cursor:
        execute_values(
            cursor,
            f"INSERT INTO {schema}.ledger (stream, topic, partition, incarnation, epoch,"
            f" start_offset, next_offset, {', '.join(COUNTS)}, batch_id, run_id, loader,"
            " committed_at) VALUES %s",
            ledger,
            template=f"({', '.join(['%s'] * 20)}, now() - %s::interval)",
        )
        if letters:
            execute_values(
                cursor,
                f"INSERT INTO {schema}.dead_letter (batch_id, stream, topic, partition,"
                " incarnation, epoch, record_offset, record_timestamp, timestamp_type, header_keys,"
                " header_values, stage, reason, resolved_at, resolution, resolved_by) SELECT"
                " batch::uuid, stream, topic, partition, incarnation, epoch, at, 0, 0, '{}', '{}',"
                " 'encode', 'wrong_type', CASE WHEN done THEN now() END,"
                " CASE WHEN done THEN 'discarded' END, CASE WHEN done THEN 'x' END"
                " FROM (VALUES %s) AS letter (batch, stream, topic, partition, incarnation, epoch,"
                " at, done)",
                letters,
            )
    connection.close()


def test_a_purge_needs_no_topic(aged: Bench) -> None:
    aged.delete_topic()
    primary = Primary(aged.endpoints.postgres, application_name="test")
    assert PostgresPurge(primary, LIMITS).purge(aged.name).removed_letters == 6
    primary.close()
