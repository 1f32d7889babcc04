"""Start-up: what a load of a stream that is up to date takes, as a command and as a run of Dagster.

``python benchmarks/startup.py`` loads a stream once, and then each of the commands in turn finds
nothing to do. Seconds and CPU seconds are of the whole command, its Python included.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import click
from contenders.ours import configure, environment
from contenders.register import CONTENDERS
from rich.console import Console
from rich.table import Table
from stage import Order, Stage, Task, open_stage

RECORDS = 10_000


def commands(order: Order, configuration: Path) -> dict[str, list[str]]:
    """What is measured, by name."""
    module = [sys.executable, "-m"]
    job = ["-m", "kafka_pg_pipeline.definitions", "-j", f"load_{order.table}"]
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "kafka-pg load": [*module, "kafka_pg_pipeline", "load", "-c", str(configuration)],
        "dagster job execute": [*module, "dagster", "job", "execute", *job],
        "python -c 'import dagster'": [sys.executable, "-c", "import dagster"],
    }


def run(command: list[str], variables: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command and its children."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise click.ClickException(f"{command} failed:\n{done.stderr.decode()[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu


def measure(stage: Stage, reader: str, rounds: int) -> dict[str, list[tuple[float, float]]]:
    task = Task("ours", RECORDS)
    order = CONTENDERS[task.contender].prepare(stage, task)
    configuration = configure(stage, order, reader)
    variables = {**os.environ, **environment(order), "KAFKA_PG_CONFIG": str(configuration)}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled once
    found: dict[str, list[tuple[float, float]]] = {}
    chosen = commands(order, configuration)
    run(chosen["kafka-pg load"], variables)
    stage.inspect(order, "kafka-pg load")
    for _ in range(rounds):
        for name, command in chosen.items():
            found.setdefault(name, []).append(run(command, variables))
    stage.clear(order)
    return found


@click.command()
@click.option("--reader", default="kafka-python", show_default=True)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=1))
def main(reader: str, rounds: int) -> None:
    """Seconds of commands that find nothing to do."""
    with open_stage() as stage:
        found = measure(stage, reader, rounds)
    table = Table("command", "seconds", "from", "to", "CPU", title=f"medians of {rounds}")
    for name, turns in found.items():
        wall, cpu = zip(*turns, strict=True)
        figures = (statistics.median(wall), min(wall), max(wall), statistics.median(cpu))
        table.add_row(name, *(f"{figure:.2f}" for figure in figures))
    Console().print(table)


if __name__ == "__main__":
    main()
