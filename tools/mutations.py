"""Break the delivery protocol on purpose and see that the tests notice.

Each mutation is applied to a copy of the repository; every test named with it must then fail, by
an assertion or an error of its own, not because it could not be set up. Exit status: 0 where all
mutants died, 1 where one survived, 2 where a mutation does not fit the code any more or the tests
fail on the code as it stands.

    python tools/mutations.py [--list] [--only NAME ...] [--no-baseline]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
LIMIT_SECONDS = 600
_PARTS = ["kafka_pg_pipeline", "kafka_pg_pipeline_tests", "conftest.py", "pyproject.toml"]
_WRITER = "kafka_pg_pipeline/adapters/postgres/writer.py"
_BATCH_POSITIONS = "kafka_pg_pipeline/adapters/postgres/batch_positions.py"
_AHEAD = "kafka_pg_pipeline/adapters/postgres/ahead.py"
_COMMIT = "kafka_pg_pipeline/adapters/postgres/commit.py"
_POSITIONS = "kafka_pg_pipeline/sql/positions.sql"
_PLANNING = "kafka_pg_pipeline/domain/planning.py"
_READ = "kafka_pg_pipeline/pipeline/read.py"
_POLLING = "kafka_pg_pipeline/pipeline/polling.py"
_REREAD = "kafka_pg_pipeline/pipeline/reread.py"
_REREAD_FAULTS = "kafka_pg_pipeline_tests/faults/test_reread.py"
_LOAD = "kafka_pg_pipeline/pipeline/load.py"
_MOVES = "kafka_pg_pipeline/adapters/postgres/moves.py"
_LETTERS = "kafka_pg_pipeline/sql/letters.sql"
_REPLAYER = "kafka_pg_pipeline/adapters/postgres/replay.py"
_COPIER = "kafka_pg_pipeline/pipeline/copy_letters.py"
_SENDING = "kafka_pg_pipeline_tests/delivery/test_sending.py"
_PROCESSES = "kafka_pg_pipeline_tests/faults/test_processes.py"
_POSTGRES = "kafka_pg_pipeline_tests/faults/test_postgres.py"
_LOG = "kafka_pg_pipeline_tests/delivery/test_log.py"
_REPLAY = "kafka_pg_pipeline_tests/delivery/test_replay.py"
_REPLAY_FAULTS = "kafka_pg_pipeline_tests/faults/test_replay.py"
_PURGE = "kafka_pg_pipeline/sql/purge.sql"
_RETENTION = "kafka_pg_pipeline_tests/delivery/test_purge.py"
_WINDOWS = "kafka_pg_pipeline/domain/windows.py"
_BACKFILL = "kafka_pg_pipeline_tests/delivery/test_backfill.py"
_BACKFILL_FAULTS = "kafka_pg_pipeline_tests/faults/test_backfill.py"
_DEAD_LETTERS = "kafka_pg_pipeline_tests/delivery/test_dead_letters.py"
_LANES = "kafka_pg_pipeline_tests/delivery/test_lanes.py"
_LANE_PROCESSES = "kafka_pg_pipeline/assembly/lane_processes.py"


@dataclass(frozen=True)
class Edit:
    """A piece of a file and what stands there instead; ``times`` is how often it must occur."""

    path: str
    old: str
    new: str
    times: int = 1


@dataclass(frozen=True)
class Mutation:
    """One way to get the protocol wrong, and the tests that must see it."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


class StaleMutationError(Exception):
    """A mutation's old text is not in the code, or not as often as expected."""


_MERGE = "kafka_pg_pipeline/adapters/postgres/merge.py"
_NEW_ROWS = "kafka_pg_pipeline/adapters/postgres/new_rows.py"
_SIDES = "kafka_pg_pipeline/adapters/postgres/sides.py"
_KEYS = "kafka_pg_pipeline_tests/delivery/test_keys.py"
_DEBEZIUM = "kafka_pg_pipeline_tests/delivery/test_debezium.py"
_PAUSE = "kafka_pg_pipeline_tests/recovery/test_pause.py"
_BROKEN_BATCH = "kafka_pg_pipeline_tests/recovery/test_broken_batch.py"
_NO_COMPARISON = Edit(
    _POSITIONS,
    """        WHEN state.next_offset = slice.start_offset
         AND state.epoch = slice.epoch
         AND state.topic_id IS NOT DISTINCT FROM slice.topic_id
        THEN slice.next_offset
""",
    "        WHEN true THEN slice.next_offset\n",
)

MUTATIONS = (
    Mutation(
        "no-compare-and-swap",
        (
            _NO_COMPARISON,
            # Else the ledger's unique key stands in for the comparison.
            Edit(
                _BATCH_POSITIONS,
                "        return cursor.fetchall() != _expected(batch)\n",
                "        return False\n",
            ),
        ),
        (
            f"{_PROCESSES}::test_of_loaders_at_once_one_commits_and_all_succeed",
            f"{_PROCESSES}::test_a_loader_frozen_in_its_copy_delays_nobody",
        ),
    ),
    Mutation(
        "no-compare-and-swap-but-the-ledger-key",
        (_NO_COMPARISON, Edit(_POSITIONS, "\n AND state.epoch = slice.epoch\n", "\n")),
        (f"{_PROCESSES}::test_what_an_operator_skipped_is_not_loaded_by_a_zombie",),
    ),
    Mutation(
        "lock-before-copy",
        (
            Edit(
                _WRITER,
                """            self._path.send(cursor, batch)
""",
                """            cursor.defer(
                self._statements["lock_positions"],
                {**self._identity, "partitions": partitions_of(batch)},
            )
            self._path.send(cursor, batch)
""",
            ),
        ),
        (f"{_PROCESSES}::test_a_loader_frozen_in_its_copy_delays_nobody",),
    ),
    Mutation(
        "compare-without-epoch",
        (
            Edit(_POSITIONS, " AND state.epoch = slice.epoch\n", "\n", times=2),
            Edit(
                _POSITIONS,
                "SELECT partition, next_offset, epoch, topic_id\n",
                "SELECT partition, next_offset, topic_id\n",
            ),
            Edit(_BATCH_POSITIONS, "            piece.position.epoch,\n", ""),
        ),
        (f"{_PROCESSES}::test_a_zombie_is_fenced_by_an_operator_alone",),
    ),
    Mutation(
        "entries-for-positions-that-are-there",
        (
            Edit(
                _POSITIONS,
                "LEFT JOIN {schema}.state AS state\n  ON",
                "JOIN {schema}.state AS state\n  ON",
            ),
        ),
        (
            "kafka_pg_pipeline_tests/delivery/test_backfill.py::test_a_run_ends_whose_window_is_forgotten",
        ),
    ),
    Mutation(
        "no-second-try-after-a-lock-that-came-too-late",
        (Edit(_WRITER, "        except LockNotAvailable:\n", "        except Fenced:\n"),),
        (_SENDING,),
    ),
    Mutation(
        "another-partition-lands-before-the-commit",
        (Edit(_WRITER, "behind=partitions_of(batch))", "behind=())"),),
        (f"{_SENDING}::test_rows_of_another_partition_may_refer_to_the_batch_before",),
    ),
    Mutation(
        "landed-while-the-outcome-is-looked-up",
        (Edit(_WRITER, "                ahead.give_up_landing()", "                pass"),),
        (f"{_SENDING}::test_a_batch_that_landed_does_not_hold_up_the_search_for_an_outcome",),
    ),
    Mutation(
        "landing-goes-on-when-nobody-wants-it",
        (Edit(_AHEAD, "            self.primary.cancel()\n", ""),),
        (f"{_SENDING}::test_closing_ends_a_batch_that_lands",),
    ),
    Mutation(
        "a-frozen-server-is-waited-for",
        (Edit(_AHEAD, "                self.primary.cut()\n", ""),),
        (f"{_POSTGRES}::test_closing_does_not_wait_for_a_backend_that_is_frozen_while_it_lands",),
    ),
    Mutation(
        "outcome-by-plain-select",
        (
            Edit(
                _COMMIT,
                'self._statements["lock_positions"]',
                'self._statements["read_expected_positions"]',
            ),
        ),
        (f"{_POSTGRES}::test_a_stuck_commit_is_waited_for_by_the_lock_not_by_a_look",),
    ),
    Mutation(
        "last-offset-plus-one-for-position",
        (
            Edit(
                _READ,
                "progress.advance(reader.position(progress.plan.partition))",
                "progress.advance(progress.next_offset)",
            ),
            Edit(_POLLING, "STALL_SECONDS = 20.0", "STALL_SECONDS = 1.0"),  # to hear it sooner
        ),
        (
            f"{_LOG}::test_commit_markers_at_the_end_are_passed_by_position",
            f"{_LOG}::test_aborted_records_are_absent_under_read_committed",
        ),
    ),
    Mutation(
        "reread-without-a-look-at-the-last-record",
        (Edit(_REREAD, "again is None or fingerprint(again) != fingerprint(last)", "False"),),
        (
            f"{_REREAD_FAULTS}::test_a_topic_made_anew_before_a_record_is_read_again_gives_no"
            "_dead_letter",
        ),
    ),
    Mutation(
        "another-id-than-the-rows-have",
        (
            Edit(
                "kafka_pg_pipeline/adapters/postgres/writer.py",
                "            batch,\n            chunks=",
                "            batch,\n            batch_id=__import__('uuid').uuid4(),\n"
                "            chunks=",
            ),
        ),
        (
            "kafka_pg_pipeline_tests/delivery/test_reread.py::test_rows_beside_a_rejected_one_have"
            "_the_id_that_the_ledger_has",
        ),
    ),
    Mutation(
        "reread-from-an-offset-too-far",
        (Edit(_REREAD, "{partition: min(offsets)", "{partition: min(offsets) + 1"),),
        ("kafka_pg_pipeline_tests/delivery/test_reread.py",),
    ),
    Mutation(
        "no-topic-id-check",
        (
            Edit(
                _PLANNING,
                "    if stored == found:\n",
                "    if stored.cluster_id == found.cluster_id:\n",
            ),
        ),
        (
            f"{_LOG}::test_a_recreated_topic_stops_the_stream_until_it_is_accepted[longer]",
            f"{_LOG}::test_a_topic_recreated_between_plan_and_write_is_noticed",
        ),
    ),
    Mutation(
        "replay-without-the-letters-locks",
        (
            Edit(
                _LETTERS,
                """WHERE id = ANY (%(ids)s) AND resolved_at IS NULL
ORDER BY id
FOR UPDATE
""",
                """WHERE id = ANY (%(ids)s)
ORDER BY id
""",
            ),
            Edit(
                _LETTERS,
                "WHERE id = ANY (%(ids)s) AND resolved_at IS NULL\n\n-- name: mark_rejected",
                "WHERE id = ANY (%(ids)s)\n\n-- name: mark_rejected",
            ),
        ),
        (f"{_REPLAY_FAULTS}::test_of_replays_at_once_each_letter_has_one",),
    ),
    Mutation(
        "replay-marked-by-another-transaction",
        (
            Edit(
                _REPLAYER,
                """        batch, entries = self._write(""",
                """        cursor.execute("COMMIT")
        begin(cursor, self._settings)
        batch, entries = self._write(""",
            ),
            Edit(
                _REPLAYER,
                """        failpoints.reach("after_replay_write")
""",
                """        cursor.execute("COMMIT")
        begin(cursor, self._settings)
        failpoints.reach("after_replay_write")
""",
            ),
        ),
        (f"{_REPLAY_FAULTS}::test_a_replay_killed_before_commit_leaves_the_letters_as_they_were",),
    ),
    Mutation(
        "replay-taken-for-lost",
        (
            Edit(
                _REPLAYER,
                "return any(resolved_by == self._run_id for (resolved_by,) in cursor.fetchall())",
                "return False",
            ),
        ),
        (f"{_REPLAY_FAULTS}::test_a_lost_answer_to_commit_is_resolved_to_committed",),
    ),
    Mutation(
        "replay-while-positions-move",
        (
            Edit(
                _REPLAYER,
                """            cursor.execute(self._letters["lock_stream"], self._key)
""",
                "",
            ),
        ),
        (f"{_REPLAY}::test_a_replay_waits_until_positions_were_moved",),
    ),
    Mutation(
        "reset-keeps-letters",
        (
            Edit(
                _MOVES,
                """            self._delete_dead_letters(cursor, moves, states)
""",
                "",
            ),
        ),
        (f"{_REPLAY}::test_letters_of_records_that_are_read_again_are_not_replayed_on_top",),
    ),
    Mutation(
        "copies-marked-before-they-are-made",
        (
            Edit(
                _COPIER,
                """            copied = self._publisher.publish(letters)
            failpoints.reach("after_letters_copied")
            self._copies.mark_copied(copied)
""",
                """            self._copies.mark_copied([opened.letter.id for opened in letters])
            failpoints.reach("after_letters_copied")
            copied = self._publisher.publish(letters)
""",
            ),
        ),
        (f"{_REPLAY_FAULTS}::test_copies_cut_short_by_a_kill_are_made_by_the_next_run",),
    ),
    Mutation(
        "budget-anew-with-each-round",
        (Edit(_LOAD, "rejected_before=run.rejected", "rejected_before=0"),),
        (f"{_DEAD_LETTERS}::test_rounds_of_one_run_share_its_budget",),
    ),
    Mutation(
        "first-record-of-a-key-wins",
        (
            Edit(
                _SIDES,
                'sql.SQL("ASC" if mode.mode is Mode.INSERT_IGNORE else "DESC")',
                'sql.SQL("ASC")',
            ),
        ),
        (f"{_KEYS}::test_the_last_record_of_a_key_wins_within_a_batch",),
    ),
    Mutation(
        "newest-wins-compares-nothing",
        (
            Edit(
                _MERGE,
                '"{row}.{partition} IS DISTINCT FROM {line}.{partition}"',
                '"true OR {row}.{partition} IS DISTINCT FROM {line}.{partition}"',
            ),
        ),
        (
            f"{_KEYS}::test_a_replay_changes_nothing_where_the_newest_wins",
            f"{_KEYS}::test_an_old_tombstone_does_not_delete_a_newer_row",
        ),
    ),
    Mutation(
        "merges-lock-rows-in-any-order",
        (
            Edit(
                _MERGE,
                '" WHERE {lines} ORDER BY {keys}"',
                '" WHERE {lines} ORDER BY random()"',
            ),
        ),
        (f"{_KEYS}::test_streams_that_merge_into_one_table_do_not_deadlock[False]",),
    ),
    Mutation(
        "merges-with-deletes-go-together",
        (
            Edit(
                _MERGE,
                '_shared" if together else "pg_advisory_xact_lock"',
                '_shared"',
            ),
        ),
        (f"{_KEYS}::test_streams_that_merge_into_one_table_do_not_deadlock[True]",),
    ),
    Mutation(
        "offsets-are-compared-as-text",
        (Edit(_SIDES, "if kinds != {ColumnKind.INTEGER}:", "if False:"),),
        (f"{_KEYS}::test_offsets_that_the_table_holds_as_text_are_compared_as_numbers",),
    ),
    Mutation(
        "rows-that-a-trigger-swallows-are-counted",
        (Edit(_NEW_ROWS, "IF arrived <> {lines} AND", "IF false AND arrived <> {lines} AND"),),
        (f"{_KEYS}::test_rows_that_a_trigger_swallows_are_counted_as_without_effect",),
    ),
    Mutation(
        "a-bet-that-is-lost-counts-as-won",
        (
            Edit(
                _NEW_ROWS,
                "    PERFORM set_config('kafka_pg.inserted', '', true);\nEND",
                "    PERFORM set_config('kafka_pg.inserted', '{lines}', true);\nEND",
            ),
        ),
        (f"{_KEYS}::test_large_batches_bet_that_their_keys_are_new[upsert]",),
    ),
    Mutation(
        "unchanged-values-become-null",
        (
            Edit(
                "kafka_pg_pipeline/pipeline/encode.py",
                "kept = decoder.columns_of(decoded.unchanged)",
                "kept = frozenset()",
            ),
        ),
        (f"{_DEBEZIUM}::test_source_and_target_are_equal_after_each_step[precise-DEFAULT]",),
    ),
    Mutation(
        "reset-beside-a-batch-of-a-window",
        (
            Edit(
                _MOVES,
                """                    cursor.execute(self._moves["lock_windows"], self._key)
                if not""",
                """                    pass
                if not""",
            ),
        ),
        (
            "kafka_pg_pipeline_tests/delivery/test_backfill.py::test_a_move_back_takes_what_it_will"
            "_load_from_the_windows",
        ),
    ),
    Mutation(
        "pause-without-a-new-epoch",
        (
            Edit(
                _MOVES,
                """self._moves["raise_epochs"], {**self._key, "reason": "pause"}""",
                '"SELECT"',
            ),
        ),
        (f"{_PAUSE}::test_a_load_that_runs_is_fenced_by_a_pause",),
    ),
    Mutation(
        "check-in-ignores-a-pause",
        (
            Edit(
                "kafka_pg_pipeline/adapters/postgres/positions.py",
                """            if standing.pause is not None:
                return standing
""",
                "",
            ),
        ),
        (f"{_PAUSE}::test_no_position_is_added_to_a_paused_stream",),
    ),
    Mutation(
        "no-look-at-the-pause-after-a-check-in",
        (
            Edit(
                _LOAD,
                """        if standing.pause is None:
            standing = self._check_in(run, standing)
        if standing.pause is not None:
""",
                """        paused = standing.pause is not None
        if not paused:
            standing = self._check_in(run, standing)
        if paused:
""",
            ),
        ),
        (f"{_PAUSE}::test_a_pause_before_a_new_partition_checks_in_is_seen",),
    ),
    Mutation(
        "a-broken-batch-holds-up-what-was-read-with-it",
        (
            Edit(
                _READ,
                """                    self._progress[error.partition].stumble(error)
                    usable = False
""",
                """                    raise
""",
            ),
        ),
        (f"{_BROKEN_BATCH}::test_a_broken_batch_is_skipped_and_nothing_else",),
    ),
    Mutation(
        "merges-lines-over-a-hole",
        (
            Edit(
                _PURGE,
                "start_offset IS DISTINCT FROM lag(next_offset) OVER (ORDER BY start_offset)",
                "lag(next_offset) OVER (ORDER BY start_offset) IS NULL",
            ),
        ),
        (f"{_RETENTION}::test_any_ledger_covers_and_counts_the_same_after_a_purge",),
    ),
    Mutation(
        "purges-letters-that-nobody-resolved",
        (
            Edit(
                _PURGE,
                "WHERE stream = %(stream)s AND resolved_at < clock_timestamp()",
                "WHERE stream = %(stream)s AND created_at < clock_timestamp()",
                times=2,
            ),
        ),
        (f"{_RETENTION}::test_an_unresolved_letter_stays_however_old_and_can_be_replayed",),
    ),
    Mutation(
        "merges-lines-with-letters-that-nobody-resolved",
        (Edit(_PURGE, "(dead = purged_dead OR NOT EXISTS (", "(true OR NOT EXISTS ("),),
        (f"{_RETENTION}::test_any_ledger_covers_and_counts_the_same_after_a_purge",),
    ),
    Mutation(
        "forgets-that-purged-letters-were-rows",
        (
            Edit(
                _PURGE,
                "count(*) FILTER (WHERE resolution = 'replayed') AS replayed",
                "0 AS replayed",
            ),
        ),
        (f"{_RETENTION}::test_resolved_letters_go_and_the_books_say_so",),
    ),
    Mutation(
        "purges-at-once-lose-counts",
        (
            Edit(
                "kafka_pg_pipeline/adapters/postgres/purge.py",
                'cursor.execute(self._purge["lock"]',
                'cursor.execute("SELECT %(stream)s"',
                times=2,
            ),
        ),
        (f"{_RETENTION}::test_a_purge_waits_for_another_of_the_same_stream",),
    ),
    Mutation(
        "window-takes-what-is-the-live-positions",
        (
            Edit(
                "kafka_pg_pipeline/assembly/backfill.py",
                "uncovered = session.backfills.fetch_uncovered(window.incarnation)",
                "uncovered = None",
            ),
        ),
        (f"{_BACKFILL}::test_without_a_key_no_record_of_the_live_position_comes_twice",),
    ),
    Mutation(
        "window-takes-its-end",
        (Edit(_WINDOWS, "record.timestamp < window.end_m", "record.timestamp <= window.end_m"),),
        (f"{_BACKFILL_FAULTS}::test_three_days_killed_half_way_and_resumed",),
    ),
    Mutation(
        "window-ends-at-the-first-later-record",
        (
            Edit(
                "kafka_pg_pipeline/pipeline/window.py",
                "        if self._lateness_seconds is None:\n            return {}\n",
                "",
            ),
            Edit(
                "kafka_pg_pipeline/pipeline/window.py",
                "round(self._lateness_seconds * 1000)",
                "round((self._lateness_seconds or 0) * 1000)",
            ),
        ),
        (f"{_BACKFILL}::test_records_that_come_too_late_are_found_as_far_as_one_looks",),
    ),
    Mutation(
        "move-back-leaves-windows-as-they-are",
        (Edit(_MOVES, "                self._lower_windows(cursor, moves)\n", ""),),
        (f"{_BACKFILL}::test_a_move_back_takes_what_it_will_load_from_the_windows",),
    ),
    Mutation(
        "moved-back-offsets-stay-covered",
        (
            Edit(
                _WINDOWS,
                "(start, min(end, span.start_offset)) for start, end in kept"
                " if start < span.start_offset",
                "(start, end) for start, end in kept",
            ),
        ),
        (f"{_BACKFILL}::test_a_move_back_takes_what_it_will_load_from_the_windows",),
    ),
    Mutation(
        "pause-lets-windows-go-on",
        (
            Edit(
                "kafka_pg_pipeline/sql/moves.sql",
                "    WHERE (stream = %(stream)s OR starts_with(stream, %(stream)s || '@'))"
                " AND topic = %(topic)s",
                "    WHERE stream = %(stream)s AND topic = %(topic)s",
            ),
        ),
        ("kafka_pg_pipeline_tests/cli/test_backfill.py::test_a_pause_ends_a_backfill_that_runs",),
    ),
    Mutation(
        "lanes-count-their-own-dead-letters",
        (
            Edit(
                _WRITER,
                "                self._check_runs(cursor, batch)\n",
                "                pass\n",
            ),
        ),
        (f"{_LANES}::test_the_budget_of_a_run_is_one_for_all_lanes",),
    ),
    Mutation(
        "lanes-look-at-the-budget-together",
        (
            Edit(
                _WRITER,
                """        cursor.execute(self._statements["lock_budget"], arguments)
""",
                "",
            ),
        ),
        (f"{_LANES}::test_the_budget_of_a_run_is_one_for_all_lanes",),
    ),
    Mutation(
        "lane-outlives-its-parent",
        (Edit(_LANE_PROCESSES, "        os._exit(1)\n", "        return\n"),),
        (f"{_LANES}::test_lanes_die_with_their_parent_and_one_that_dies_alone_is_made_good",),
    ),
    Mutation(
        "lane-that-was-killed-is-no-failure",
        (
            Edit(
                _LANE_PROCESSES,
                """        except (EOFError, OSError):
            self._note_end()
            return None""",
                """        except (EOFError, OSError):
            return None""",
            ),
        ),
        (f"{_LANES}::test_lanes_die_with_their_parent_and_one_that_dies_alone_is_made_good",),
    ),
    Mutation(
        "lanes-take-all-partitions",
        (
            Edit(
                _PLANNING,
                "return tuple(p for p in positions if chosen is None or p.partition in chosen)",
                "return tuple(p for p in positions if chosen is None or chosen)",
            ),
        ),
        (f"{_LANES}::test_three_lanes_make_one_load_of_eight_partitions",),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; the exit status."""
    options = _parser().parse_args(arguments)
    chosen = [m for m in MUTATIONS if not options.only or m.name in options.only]
    try:
        for mutation in chosen:
            for edit in mutation.edits:
                _check(mutation, edit)
    except StaleMutationError as error:
        _say(str(error))
        return 2
    return _list(chosen) if options.list else _run(chosen, baseline=not options.no_baseline)


def _list(chosen: Sequence[Mutation]) -> int:
    for mutation in chosen:
        _say(mutation.name)
        for test in mutation.tests:
            _say(f"    {test}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Break the delivery protocol on purpose.")
    parser.add_argument("--list", action="store_true", help="name the mutations and their tests")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=[mutation.name for mutation in MUTATIONS],
        help="these alone",
    )
    parser.add_argument(
        "--no-baseline", action="store_true", help="trust that the tests pass as the code stands"
    )
    return parser


def _run(chosen: Sequence[Mutation], *, baseline: bool) -> int:
    if baseline:
        tests = tuple(dict.fromkeys(test for mutation in chosen for test in mutation.tests))
        verdicts = _judge(None, tests)
        if unfit := [test for test, verdict in verdicts.items() if verdict != "passed"]:
            _say("these do not pass on the code as it stands: " + ", ".join(unfit))
            return 2
    survivors = 0
    for mutation in chosen:
        started = time.monotonic()
        verdicts = _judge(mutation, mutation.tests)
        survived = [test for test, verdict in verdicts.items() if verdict != "failed"]
        survivors += bool(survived)
        seconds = time.monotonic() - started
        _say(f"{'SURVIVED' if survived else 'killed':9}{mutation.name} ({seconds:.0f} s)")
        for test in survived:
            _say(f"          {verdicts[test]}: {test}")
    return 1 if survivors else 0


def _check(mutation: Mutation, edit: Edit) -> None:
    found = (ROOT / edit.path).read_text().count(edit.old)
    if found != edit.times:
        raise StaleMutationError(
            f"{mutation.name}: {edit.path} holds this {found} times, not {edit.times}:\n{edit.old}"
        )


def _judge(mutation: Mutation | None, tests: Sequence[str]) -> dict[str, str]:
    """What became of each test: passed, failed, or what kept it from being a verdict."""
    with tempfile.TemporaryDirectory(prefix="kafka_pg_mutant_") as name:
        directory = Path(name)
        for part in _PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(
                    source, directory / part, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy2(source, directory / part)
        for edit in mutation.edits if mutation else ():
            path = directory / edit.path
            path.write_text(path.read_text().replace(edit.old, edit.new))
        return {test: _verdict(directory, test) for test in tests}


def _verdict(directory: Path, test: str) -> str:
    report = directory / "report.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        subprocess.run(
            [*command, f"--junitxml={report}", test],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no verdict within {LIMIT_SECONDS} s"
    if not report.exists():
        return "no report"
    return _read_report(report)


def _read_report(report: Path) -> str:
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - pytest wrote it
    if not cases or any(case.find("skipped") is not None for case in cases):
        return "not run"
    if any(case.find("failure") is not None for case in cases):
        return "failed"
    if any(case.find("error") is not None for case in cases):
        return "could not be set up"
    return "passed"


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is a program


if __name__ == "__main__":
    sys.exit(main())
