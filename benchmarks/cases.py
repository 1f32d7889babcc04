"""What is compared with what: the rows of each case."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from contenders.register import CONTENDERS
from stage import Task

OURS = ("ours", "ours-fast")
ONE_LANE = ("ours-one-lane", "ours-fast-one-lane")
READERS = ("read", "read-fast")
PEERS = ("connect", "connect-plain", "quix", "pathway", "dlt")
LOOPS = ("insert", "execute-values")
ROUND_TRIPS_MS = (0.0, 2.0, 12.0)
PARTITIONS = (1, 4, 16, 64)
BACKLOGS = (10_000, 100_000, 1_000_000, 10_000_000)


@dataclass(frozen=True)
class Case:
    """A comparison: who takes part unless the caller says otherwise, and in what."""

    title: str
    contenders: tuple[str, ...]
    plan: Callable[[tuple[str, ...], int, int], Iterator[Task]]

    def tasks(self, contenders: tuple[str, ...], records: int, partitions: int) -> list[Task]:
        """The rows, but for those that a contender cannot do."""
        tasks = self.plan(contenders or self.contenders, records, partitions)
        return [task for task in tasks if can_do(task)]


def can_do(task: Task) -> bool:
    contender = CONTENDERS[task.contender]
    return task.shape in contender.shapes and task.mode in contender.modes


def one_shape(shape: str, mode: str = "append") -> Callable[..., Iterator[Task]]:
    def plan(contenders: tuple[str, ...], records: int, partitions: int) -> Iterator[Task]:
        for name in contenders:
            yield Task(name, records, partitions, shape, mode)

    return plan


def each_mode(contenders: tuple[str, ...], records: int, partitions: int) -> Iterator[Task]:
    for name in contenders:
        modes = sorted(CONTENDERS[name].modes) if name in OURS else ("append",)
        for mode in modes:
            yield Task(name, records, partitions, mode=mode)


def each_round_trip(contenders: tuple[str, ...], records: int, partitions: int) -> Iterator[Task]:
    for name in contenders:
        for mode in ("append", "upsert"):
            for delay_ms in ROUND_TRIPS_MS:
                yield Task(name, records, partitions, mode=mode, delay_ms=delay_ms)


def each_width(contenders: tuple[str, ...], records: int, partitions: int) -> Iterator[Task]:
    del partitions
    for name in contenders:
        for number in PARTITIONS:
            yield Task(name, records, number)


def each_backlog(contenders: tuple[str, ...], records: int, partitions: int) -> Iterator[Task]:
    for name in contenders:
        for number in BACKLOGS:
            if number <= records:
                yield Task(name, number, partitions)


CASES = {
    "append": Case(
        "append, narrow records", (*OURS, *READERS, "copy", *LOOPS, *PEERS), one_shape("narrow")
    ),
    "upsert": Case(
        "upsert, keys that are new", (*OURS, *READERS, *PEERS), one_shape("narrow", "upsert")
    ),
    "modes": Case("each mode", (*OURS, *READERS), each_mode),
    "wide": Case(
        "append, wide records", (*OURS, *READERS, "execute-values", *PEERS), one_shape("wide")
    ),
    "avro": Case("append, Avro", (*OURS, *READERS, *PEERS), one_shape("avro")),
    "debezium": Case("append, Debezium", (*OURS, *READERS, *PEERS), one_shape("debezium")),
    "round-trip": Case("PostgreSQL far away", OURS, each_round_trip),
    "partitions": Case("partitions", (*OURS, *READERS), each_width),
    "backlog": Case("growth with the backlog", (*OURS, *ONE_LANE), each_backlog),
}
