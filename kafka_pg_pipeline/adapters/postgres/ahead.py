"""A batch before its turn: sent, and maybe landed, while another one is being written.

Each of a writer's connections has a thread, in which a batch goes ahead; when its turn has come,
whoever writes it takes the transaction over, as far as it got.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from kafka_pg_pipeline.adapters.postgres.connection import GRACE_SECONDS, Primary, Transaction
from kafka_pg_pipeline.domain.batches import EncodedBatch, LedgerEntry

T = TypeVar("T")


class Line:
    """A connection, and the thread in which batches go ahead over it, one task after another."""

    def __init__(self, primary: Primary) -> None:
        self.primary = primary
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-pg-line")
        self._last: Future[Any] | None = None

    def submit(self, task: Callable[[], T]) -> Future[T]:
        """Do it behind what was submitted before."""
        self._last = doing = self._thread.submit(task)
        return doing

    def hang_up(self) -> None:
        """End what was submitted, as soon as the server can, and close the connection.

        The next task opens another one.
        """
        if self._last is not None and not wait([self._last], 0).done:
            self.primary.cancel()
            if not wait([self._last], GRACE_SECONDS).done:
                self.primary.cut()
                wait([self._last])
        self.primary.close()

    def close(self) -> None:
        """Hang up, for good; safe to call twice."""
        self.hang_up()
        self._thread.shutdown()


@dataclass(frozen=True, slots=True)
class Sent:
    """An open transaction with a batch's rows, None where that failed; and how long it took."""

    transaction: Transaction | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Landed:
    """A transaction that lacks but the ledger and COMMIT, and what the ledger will then hold."""

    transaction: Transaction
    entries: tuple[LedgerEntry, ...]


@dataclass(slots=True)
class Ahead:
    """How far a batch has come over a line; ``landing`` is None until it was begun."""

    batch: EncodedBatch
    line: Line
    sending: Future[Sent]
    landing: Future[Landed | None] | None = None

    def begin_landing(self, land: Callable[["Ahead"], Landed | None]) -> None:
        """Let it land behind what the line does now, unless that was begun already."""
        if self.landing is None:
            self.landing = self.line.submit(partial(land, self))

    def give_up_landing(self) -> None:
        """Undo what has landed: the batch is sent again in its turn."""
        if self.landing is not None:
            self.line.hang_up()
            self.landing = Future()
            self.landing.set_result(None)
