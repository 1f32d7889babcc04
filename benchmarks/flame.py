"""A flame graph of ``kafka-pg load``: where the time of its threads goes.

``python benchmarks/flame.py`` loads a fresh stream under py-spy and writes
``docs/images/flame-MODE.svg``; open it in a browser. py-spy is installed once, by pip, into a
directory of its own. It slows the load down, so that only the shares count.
"""

import os
import subprocess
import sys
from pathlib import Path

import click
from contenders.ours import MODES, configure, environment
from contenders.register import CONTENDERS
from stage import Stage, Task, open_stage

PY_SPY = "py-spy>=0.4,<0.5"
IMAGES = Path(__file__).parents[1] / "docs" / "images"
TOOLS = Path(__file__).parents[1] / ".local" / "py-spy"
CONTENDER = {"kafka-python": "ours", "confluent": "ours-fast"}


def fetch_py_spy() -> Path:
    program = TOOLS / "bin" / "py-spy"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(TOOLS)], check=True)
        pip = [str(TOOLS / "bin" / "python"), "-m", "pip", "install", "--quiet", PY_SPY]
        subprocess.run(pip, check=True)
    return program


def record(stage: Stage, task: Task, reader: str, image: Path) -> None:
    """Load the task's topic into an empty table, watched."""
    order = CONTENDERS[task.contender].prepare(stage, task)
    load = [sys.executable, "-m", "kafka_pg_pipeline", "load", "-c"]
    watch = [str(fetch_py_spy()), "record", "--rate", "200", "--threads", "--function"]
    watch += ["--format", "flamegraph", "--output", str(image), "--"]
    subprocess.run(
        [*watch, *load, str(configure(stage, order, reader))],
        env={**os.environ, **environment(order)},
        check=True,
    )
    stage.clear(order)


@click.command()
@click.option("--reader", default="confluent", show_default=True, type=click.Choice([*CONTENDER]))
@click.option("--mode", default="append", show_default=True, type=click.Choice([*MODES]))
@click.option("--records", default=1_000_000, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--output", type=click.Path(path_type=Path), help="[default: docs/images/flame-MODE.svg]"
)
def main(reader: str, mode: str, records: int, output: Path | None) -> None:
    """Draw where the time of a load goes."""
    image = output or IMAGES / f"flame-{mode}.svg"
    with open_stage() as stage:
        record(stage, Task(CONTENDER[reader], records, mode=mode), reader, image)
    print(image)


if __name__ == "__main__":
    main()
