"""Lanes as processes of this machine: each is told when to stop, and tells what it commits.

A lane and its parent hold the two ends of a pipe. A parent that is gone, however it died, closes
its end, and the lane ends at once: its open transaction is rolled back. A lane that is gone closes
the other, and the load fails once the rest of the lanes has come to its end.
"""

import logging
import os
import signal
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from kafka_pg_pipeline.assembly.lanes import LaneTask, load_lane
from kafka_pg_pipeline.domain.batches import WriteResult
from kafka_pg_pipeline.domain.reports import LoadReport
from kafka_pg_pipeline.errors import LaneEndedError, PipelineError, TerminalError
from kafka_pg_pipeline.ports import ProgressListener, StopSignal

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GLANCE_SECONDS = 0.2
_END_SECONDS = 10.0
# Not fork: a lane would begin with the parent's connections, and without its threads.
_CONTEXT = get_context("spawn")


def run_lanes(
    tasks: Sequence[LaneTask], *, stop: StopSignal, listener: ProgressListener
) -> tuple[LoadReport, ...]:
    """Load all lanes at once, each in a process of its own; their reports, in the same order.

    Raises:
        PipelineError: what stopped one of them, after all have come to their ends. What needs a
            person goes first; the others are logged.
    """
    lanes = [_Lane(task) for task in tasks]
    try:
        for lane in lanes:
            lane.start()
        _follow(lanes, stop, listener)
    finally:
        for lane in lanes:
            lane.end()
    errors = [lane.error for lane in lanes if lane.error is not None]
    if errors:
        first = next((error for error in errors if isinstance(error, TerminalError)), errors[0])
        for error in errors:
            if error is not first and str(error) != str(first):
                logger.error("%s: %s", tasks[0].name, error)
        raise first
    return tuple(lane.report for lane in lanes if lane.report is not None)


def _follow(lanes: Sequence["_Lane"], stop: StopSignal, listener: ProgressListener) -> None:
    """Hear what the lanes tell, until the last has closed its end."""
    at_work: dict[Any, _Lane] = {lane.connection: lane for lane in lanes}
    asked = False
    while at_work:
        if stop.is_set() and not asked:
            asked = True
            for lane in at_work.values():
                lane.ask_to_stop()
        for connection in wait(list(at_work), _GLANCE_SECONDS):
            lane = at_work[connection]
            told = lane.hear()
            if isinstance(told, WriteResult):
                listener(told)
            elif isinstance(told, logging.LogRecord):
                logging.getLogger(told.name).handle(told)
            elif told is None:
                del at_work[lane.connection]


@dataclass
class _Lane:
    """One lane as its parent sees it; ``report`` or ``error`` is there once it has ended."""

    task: LaneTask
    report: LoadReport | None = None
    error: PipelineError | None = None
    connection: Connection = field(init=False)
    process: Any = field(init=False, default=None)

    def start(self) -> None:
        self.connection, theirs = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(
            target=_serve, args=(theirs, self.task, _levels()), daemon=True
        )
        with theirs, _held_signals():
            self.process.start()

    def ask_to_stop(self) -> None:
        try:
            self.connection.send(None)
        except OSError:
            return  # it has ended

    def hear(self) -> Any:
        """The next that it tells; None where it has ended."""
        try:
            told = self.connection.recv()
        except (EOFError, OSError):
            self._note_end()
            return None
        if isinstance(told, LoadReport):
            self.report = told
        elif isinstance(told, PipelineError):
            self.error = told
        return told

    def end(self) -> None:
        """Leave no process behind: without its parent's end of the pipe it ends by itself."""
        if self.process is None:
            return
        self.connection.close()
        self.process.join(_END_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _note_end(self) -> None:
        if self.report is not None or self.error is not None:
            return
        self.process.join(_END_SECONDS)
        code = self.process.exitcode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        numbers = ", ".join(map(str, sorted(self.task.plan.partitions or ())))
        self.error = LaneEndedError(
            f"the process that loaded partition {numbers} of {self.task.stream.topic} ended {how}. "
            f"What it had committed stays, and nothing is lost: `kafka-pg load {self.task.name}` "
            "goes on from there"
        )


@contextmanager
def _held_signals() -> Iterator[None]:
    """Let a process that starts here hear no signal before it can heed one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _levels() -> Mapping[str, int]:
    """From which level on somebody here hears log lines, of all and of this package."""
    names = ("", "kafka_pg_pipeline")
    return {name: logging.getLogger(name).getEffectiveLevel() for name in names}


# -- in the lane -----------------------------------------------------------------------------------


class _Parent(logging.Handler):
    """Tells the parent what is committed, and what is logged; one thing at a time."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._sending = threading.Lock()

    def tell(self, what: object) -> None:
        with self._sending:
            self._connection.send(what)

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = record.getMessage(), None, None
        self.tell(record)


def _serve(connection: Connection, task: LaneTask, levels: Mapping[str, int]) -> None:
    stop = threading.Event()
    # Ctrl-C reaches every process of the terminal; the parent says what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    threading.Thread(target=_heed, args=(connection, stop), daemon=True).start()
    parent = _Parent(connection)
    logging.getLogger().addHandler(parent)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        parent.tell(load_lane(task, stop=stop, listener=lambda result: parent.tell(result)))
    except PipelineError as error:
        parent.tell(error)
    except Exception as error:  # noqa: BLE001 - it may quote anything, and must not be printed
        parent.tell(_describe(error, task))


def _heed(connection: Connection, stop: threading.Event) -> None:
    """Stop when the parent says so; end at once when it is gone."""
    try:
        while True:
            connection.recv()
            stop.set()
    except (EOFError, OSError):
        os._exit(1)


def _describe(error: Exception, task: LaneTask) -> PipelineError:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return LaneEndedError(
        f"a lane of {task.name} ended by {type(error).__name__}, which was not foreseen, in "
        f"{frame.filename}:{frame.lineno}. Nothing is lost: `kafka-pg load {task.name} --lanes 1` "
        "goes on"
    )
