"""What a comparison found: its rows, what it was measured on, and how both are kept and shown."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from contenders.contender import Clock, Took
from contenders.register import CONTENDERS
from peers import fetch_versions, read_connect_versions
from rich.console import Console
from rich.table import Table
from stage import Landed, Task

FOLDER = Path(__file__).with_name("results")
MEBIBYTE = 1024 * 1024
OUR_PACKAGES = ("kafka-python", "confluent-kafka", "psycopg2-binary", "msgspec")


@dataclass(frozen=True)
class Outcome:
    """One turn of one contender: by its clock, and by both others where it fills a table.

    ``whole`` is from its start to the last commit, which for ours has the start of Python in it.
    """

    rows: int
    seconds: float
    rows_per_second: float
    peak_bytes: int | None
    whole: float | None = None
    between_commits: float | None = None


@dataclass(frozen=True)
class Row:
    """All turns of one task."""

    task: Task
    outcomes: tuple[Outcome, ...]

    @property
    def seconds(self) -> float:
        return statistics.median(outcome.seconds for outcome in self.outcomes)

    @property
    def rows_per_second(self) -> float:
        return statistics.median(outcome.rows_per_second for outcome in self.outcomes)

    @property
    def peak_bytes(self) -> int | None:
        peaks = [outcome.peak_bytes for outcome in self.outcomes if outcome.peak_bytes is not None]
        return max(peaks) if peaks else None


def time_turn(clock: Clock, took: Took, rows: int, landed: Landed | None) -> Outcome:
    """The turn's time by the contender's clock."""
    whole = between = None
    if landed is not None:
        whole = rows / (landed.last_commit - took.started)
        if landed.last_commit > landed.first_commit:
            later = rows - landed.rows_of_first_commit
            between = later / (landed.last_commit - landed.first_commit)
    if clock is Clock.COMMITS:
        assert whole is not None
        rate = max(whole, between or 0.0)
        seconds = rows / rate
    else:
        assert took.seconds is not None
        seconds = took.seconds
    return Outcome(rows, seconds, rows / seconds, took.peak_bytes, whole, between)


def describe_machine(kafka: str, postgres: str, contenders: Iterable[str] = ()) -> dict[str, Any]:
    """Hardware and versions; nothing that tells whose machine it is."""
    with Path("/proc/cpuinfo").open() as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    found = set(contenders)
    versions = {name: version(name) for name in OUR_PACKAGES}
    if found & {"quix", "pathway", "dlt"}:
        versions |= {f"peers' {name}": number for name, number in fetch_versions().items()}
    if found & {"connect", "connect-plain"}:
        versions |= read_connect_versions()
    return {
        "cores": os.cpu_count(),
        "processor": models[0] if models else platform.machine(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "kernel": platform.release().partition("-")[0],
        "load_before": round(os.getloadavg()[0], 2),
        "Python": platform.python_version(),
        "Kafka": kafka,
        "PostgreSQL": postgres,
        "kafka-pg-pipeline": version("kafka-pg-pipeline") + read_commit(),
        **versions,
    }


def read_commit() -> str:
    """The commit that was measured, with a plus where the code is not that of the commit."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(
        command, cwd=FOLDER.parent, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    return f" at {done.stdout.decode().strip()}" if done.returncode == 0 else ""


def to_json(
    case: str, rows: Sequence[Row], machine: Mapping[str, Any], targets: Sequence[Any]
) -> dict[str, Any]:
    """Everything of a comparison, as it is kept."""
    return {
        "case": case,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": dict(machine),
        "targets": [asdict(target) for target in targets],
        "rows": [
            {
                **asdict(row.task),
                "title": CONTENDERS[row.task.contender].title,
                "clock": CONTENDERS[row.task.contender].clock.name.lower(),
                "rows": row.outcomes[0].rows,
                "seconds": round(row.seconds, 3),
                "rows_per_second": round(row.rows_per_second),
                "peak_mib": None if row.peak_bytes is None else row.peak_bytes // MEBIBYTE,
                "rounds": [round(outcome.rows_per_second) for outcome in row.outcomes],
                "rounds_whole": [round_rate(outcome.whole) for outcome in row.outcomes],
                "rounds_between_commits": [
                    round_rate(outcome.between_commits) for outcome in row.outcomes
                ],
            }
            for row in rows
        ],
    }


def round_rate(rate: float | None) -> int | None:
    return None if rate is None else round(rate)


def save(result: Mapping[str, Any]) -> Path:
    """Keep it under its date and case."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{result['date']}-{result['case']}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path


def show(console: Console, result: Mapping[str, Any]) -> None:
    """The table, the machine and the targets."""
    rows = result["rows"]
    varying = [
        name
        for name in ("mode", "shape", "records", "partitions", "delay_ms")
        if len({row[name] for row in rows}) > 1
    ]
    fixed = [f"{name} {rows[0][name]}" for name in ("records", "partitions", "shape", "mode")]
    table = Table("what", *varying, "rows", "seconds", "rows/s", "from", "to", "memory")
    for row in rows:
        memory = "" if row["peak_mib"] is None else f"{row['peak_mib']:,} MiB"
        ends = (f"{end(row['rounds']):,}" for end in (min, max))
        table.add_row(
            row["title"] + ("" if row["clock"] == "own" else " *"),
            *(show_value(row[name]) for name in varying),
            f"{row['rows']:,}",
            f"{row['seconds']:.2f}",
            f"{row['rows_per_second']:,}",
            *ends,
            memory,
        )
    console.print(", ".join(f"{name} {value}" for name, value in result["machine"].items()))
    words = [text for text in fixed if text.split()[0] not in varying]
    console.print(f"{', '.join(words)}; medians of {len(rows[0]['rounds'])}")
    console.print(table)
    if any(row["clock"] == "commits" for row in rows):
        console.print(f"* timed from {Clock.COMMITS.value}")
    for target in result["targets"]:
        reached = "reached" if target["is_reached"] else "NOT reached"
        console.print(
            f"{target['words']}: {target['ratio']:.2f} "
            f"({target['sign']} {target['bound']:g}): {reached}"
        )


def show_value(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
