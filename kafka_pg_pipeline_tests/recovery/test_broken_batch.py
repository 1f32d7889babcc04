"""A batch of the log that no client can decode: what the user sees, types, and has afterwards."""

import re
import shlex

import pytest
from kafka import KafkaProducer

from kafka_pg_pipeline.adapters.kafka.connection import ClientKeeper
from kafka_pg_pipeline.adapters.kafka.sockets import DIRECT
from kafka_pg_pipeline_tests.backfilling import DAYS, beside
from kafka_pg_pipeline_tests.cli.conftest import CommandLine
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.recovery.segments import StoredBatch, corrupt, find_batches

REASON = "disk error of broker 1, see incident 7"


def produce_thrice(bench: Bench) -> None:
    """Three times ten records a partition, each ten in batches of their own."""
    for first in (0, 30, 60):
        bench.produce([{"id": number} for number in range(first, first + 30)])


def break_first_from(bench: Bench, offset: int) -> StoredBatch:
    """Corrupt the first batch of partition 0 that begins at the offset or later."""
    batch = next(b for b in find_batches(bench, 0) if b.base_offset >= offset)
    corrupt(batch)
    return batch


def find_skip(said: str) -> list[str]:
    """The command that a message names, as somebody would type it."""
    found = re.search(r"`kafka-pg (skip-range [^`]*) --reason TEXT`", said)
    assert found, said
    return [*shlex.split(found.group(1)), "--reason", REASON]


def landed(bench: Bench) -> set[tuple[int, int]]:
    rows = bench.query("SELECT kafka_partition, kafka_offset FROM {table}")
    assert len(rows) == len(set(rows)), "an offset landed twice"
    return set(rows)


def test_a_broken_batch_is_skipped_and_nothing_else(
    command_line: CommandLine, bench: Bench
) -> None:
    bench.create_topic()
    produce_thrice(bench)
    oracle = set(bench.read_all())
    batch = break_first_from(bench, 10)
    broken = {(0, offset) for offset in range(batch.base_offset, batch.next_offset)}
    command_line.use(bench)

    stopped = command_line.run("load")
    assert stopped.code == 1
    assert f"{bench.stream.topic}[0]@{batch.base_offset} cannot be decoded" in stopped.err
    skip = find_skip(stopped.err)
    expected = f"skip-range {bench.name} --partition 0 --from {batch.base_offset} --to "
    assert " ".join(skip).startswith(expected + str(batch.next_offset))
    assert bench.positions() == {0: batch.base_offset, 1: 30, 2: 30}
    assert landed(bench) == {o for o in oracle if o[0] or o[1] < batch.base_offset}
    for look in ("status", "lag"):
        told = command_line.run(look)
        assert (told.code, find_skip(told.out + told.err)) == (1, skip)

    rehearsed = command_line.run(*skip, "--dry-run", "--json").json
    assert bench.positions()[0] == batch.base_offset
    assert bench.query("SELECT count(*) FROM {schema}.gap") == [(0,)]
    done = command_line.run(*skip, "--json").json
    assert done["moves"] == rehearsed["moves"]
    [(action, detail)] = bench.query("SELECT action, detail FROM {schema}.audit")[-1:]
    assert (action, detail["reason"]) == ("skip-range", REASON)

    assert command_line.run("load").code == 0
    assert command_line.run("verify").code == 0
    assert landed(bench) == oracle - broken
    assert bench.query(
        "SELECT partition, start_offset, end_offset, reason, acknowledged_at IS NULL"
        " FROM {schema}.gap"
    ) == [(0, batch.base_offset, batch.next_offset, "skip-range", False)]
    status = command_line.run("status")
    assert (status.code, "up to date" in status.out) == (0, True)


def test_broken_batches_of_two_partitions_are_told_one_after_the_other(
    command_line: CommandLine, bench: Bench
) -> None:
    bench.create_topic()
    produce_thrice(bench)
    oracle = set(bench.read_all())
    broken = set()
    for partition in (0, 2):
        batch = next(b for b in find_batches(bench, partition) if b.base_offset >= 10)
        corrupt(batch)
        broken |= {(partition, o) for o in range(batch.base_offset, batch.next_offset)}
    command_line.use(bench)
    for _ in range(2):
        stopped = command_line.run("load")
        assert stopped.code == 1
        assert command_line.run(*find_skip(stopped.err)).code == 0
    assert command_line.run("load").code == 0
    assert landed(bench) == oracle - broken
    assert bench.findings() == []


def test_a_topic_that_begins_with_a_broken_batch_gets_its_table_from_the_rest(
    command_line: CommandLine, bench: Bench
) -> None:
    bench.create_topic(partitions=1)
    for number in range(2):
        bench.produce([{"id": number}], partition=lambda _: 0)
    batch = break_first_from(bench, 0)
    command_line.use(bench)
    stopped = command_line.run("load")
    assert stopped.code == 1
    assert command_line.run(*find_skip(stopped.err)).code == 0
    assert command_line.run("load").code == 0
    assert landed(bench) == {(0, batch.next_offset)}
    assert bench.query("SELECT id FROM {table}") == [(1,)]


def test_a_batch_that_broke_after_it_was_loaded_stops_nothing(
    command_line: CommandLine, bench: Bench
) -> None:
    """The last loaded record is read again for its fingerprint, which then is left out."""
    bench.create_topic(partitions=1)
    bench.produce([{"id": number} for number in range(10)], partition=lambda _: 0)
    bench.load()
    bench.produce([{"id": number} for number in range(10, 20)], partition=lambda _: 0)
    oracle = set(bench.read_all())
    corrupt([b for b in find_batches(bench, 0) if b.next_offset <= 10][-1])
    command_line.use(bench)
    assert command_line.run("load").code == 0
    assert landed(bench) == oracle
    assert bench.findings() == []


class Unprintable(str):
    """A header name that goes over the wire as bytes that are not UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff"


def test_what_lies_before_a_broken_record_in_its_batch_is_loaded(
    command_line: CommandLine, bench: Bench
) -> None:
    """The records behind it are whole, but this client cannot get at them."""
    bench.create_topic(partitions=1)
    producer = KafkaProducer(
        bootstrap_servers=bench.bootstrap_servers,
        kafka_client=ClientKeeper(),
        proxy_url=DIRECT,
        linger_ms=500,
    )
    for number in range(5):
        headers = [(Unprintable("x"), b"")] if number == 2 else []
        value = b'{"id": %d}' % number
        producer.send(bench.stream.topic, value=value, headers=headers, partition=0)
    producer.close()
    bench.produce([{"id": 5}], partition=lambda _: 0)
    assert [b.next_offset for b in find_batches(bench, 0)] == [5, 6]
    command_line.use(bench)
    stopped = command_line.run("load")
    assert stopped.code == 1
    skip = find_skip(stopped.err)
    assert skip[2:8] == ["--partition", "0", "--from", "2", "--to", "5"]
    assert command_line.run(*skip).code == 0
    assert command_line.run("load").code == 0
    assert landed(bench) == {(0, 0), (0, 1), (0, 5)}
    assert bench.findings() == []


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (("0", "0", "5"), "stands at offset 10, not at 0"),
        (("0", "9", "10"), "stands at offset 10, not at 9"),
        (("0", "10", "10"), "is not behind its first offset 10"),
        (("0", "10", "99"), "ends at offset 10: 99 is outside the log"),
        (("9", "0", "1"), "has no partition 9"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(
    command_line: CommandLine, bench: Bench, place: tuple[str, str, str], said: str
) -> None:
    bench.create_topic()
    bench.produce([{"id": number} for number in range(30)])
    bench.load()
    command_line.use(bench)
    partition, start, end = place
    options = ("--partition", partition, "--from", start, "--to", end, "--reason", REASON)
    refused = command_line.run("skip-range", bench.name, *options)
    assert (refused.code, refused.out) == (2, "")
    assert said in refused.err
    assert bench.positions() == {0: 10, 1: 10, 2: 10}


def test_a_window_is_skipped_by_its_name(command_line: CommandLine, bench: Bench) -> None:
    bench.create_topic()
    produce_thrice(bench)
    oracle = set(bench.read_all())
    batch = break_first_from(bench, 10)
    broken = {(0, offset) for offset in range(batch.base_offset, batch.next_offset)}
    command_line.use(bench)
    side = beside(bench, "past")
    today = (
        "--from",
        f"{DAYS[4]:%Y-%m-%d}",
        "--to",
        f"{DAYS[4] + 2 * (DAYS[4] - DAYS[3]):%Y-%m-%d}",
    )
    command = ("backfill", bench.name, *today, "--into", side.stream.table)
    stopped = command_line.run(*command)
    assert stopped.code == 1
    skip = find_skip(stopped.err)
    assert skip[1].startswith(f"{bench.name}@")
    assert command_line.run(*skip).code == 0
    assert command_line.run(*command).code == 0
    assert landed(side) == oracle - broken
    assert f"{len(broken)} offsets lost" in command_line.run("status").out
    assert bench.positions() == {}
    assert command_line.run("verify").code == 0
