"""How a running load tells its progress: a bar on a terminal, a line for each batch elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from kafka_pg_pipeline.cli.logs import is_json, shows_steps
from kafka_pg_pipeline.cli.output import count_of, format_rate, make_console, note
from kafka_pg_pipeline.domain.batches import WriteResult
from kafka_pg_pipeline.ports import ProgressListener


class _Counter:
    """What was committed since the run began."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.offsets = self.rows = self.batches = 0
        self._started = time.monotonic()

    def add(self, result: WriteResult) -> int:
        """Count a batch; return its rows."""
        rows = sum(entry.counts.rows for entry in result.entries)
        self.offsets += sum(len(entry.offsets) for entry in result.entries)
        self.rows += rows
        self.batches += 1
        return rows

    @property
    def rate(self) -> float:
        """Rows a second since the run began."""
        return self.rows / max(1e-9, time.monotonic() - self._started)


class LineProgress:
    """One line a batch, for logs and pipes."""

    def __init__(self, stream: str, total: int) -> None:
        self._stream = stream
        self._counter = _Counter(total)

    def __call__(self, result: WriteResult) -> None:
        """Tell of a committed batch."""
        counter = self._counter
        rows = counter.add(result)
        note(
            f"{self._stream}: batch {counter.batches}, {count_of(rows, 'row')}; "
            f"{counter.offsets:,} of {counter.total:,} offsets, {format_rate(counter.rate)}"
        )


class BarProgress:
    """A bar over the offsets of the frozen plan."""

    def __init__(self, bar: Progress, task: TaskID, total: int) -> None:
        self._bar = bar
        self._task = task
        self._counter = _Counter(total)

    def __call__(self, result: WriteResult) -> None:
        """Move the bar by a committed batch."""
        self._counter.add(result)
        self._bar.update(
            self._task,
            completed=min(self._counter.offsets, self._counter.total),
            detail=f"{format_rate(self._counter.rate)}, batch {self._counter.batches}",
        )


@contextmanager
def shown_progress(stream: str, total: int) -> Iterator[ProgressListener]:
    """Progress of a load of ``total`` offsets, on standard error."""
    console = make_console(stderr=True)
    if is_json() or (shows_steps() and not console.is_terminal):
        yield lambda _: None  # the log has a line for each batch
        return
    if not console.is_terminal or total == 0:
        yield LineProgress(stream, total)
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        redirect_stdout=False,
    )
    with bar:
        task = bar.add_task(stream, total=total, detail="reading")
        yield BarProgress(bar, task, total)
