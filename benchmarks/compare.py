"""Rows per second from Kafka to PostgreSQL: kafka-pg load, what bounds it, and other programs.

``python benchmarks/compare.py append`` starts one broker and one PostgreSQL, fills a topic, and
lets each contender load it into an empty table, in turn, round after round. Each table is counted
afterwards: a contender that lost or doubled a record ends the comparison.
"""

import json
import signal
import sys

import click
from cases import CASES
from contenders.contender import Contender
from contenders.register import CONTENDERS
from results import Outcome, Row, describe_machine, save, show, time_turn, to_json
from rich.console import Console
from stage import Stage, Task, open_stage
from targets import judge

WIDTH = 140


def take_turn(stage: Stage, task: Task, contender: Contender) -> Outcome:
    """One contender's turn at a task, and what became of its table."""
    order = contender.prepare(stage, task)
    try:
        took = contender.run(stage, order)
        landed = stage.inspect(order, task.contender) if contender.fills_table else None
        return time_turn(contender.clock, took, order.records, landed)
    finally:
        stage.clear(order)


def compare(stage: Stage, tasks: list[Task], rounds: int, console: Console) -> list[Row]:
    """All tasks in turn, so that a box that slows down slows down all of them."""
    outcomes: dict[Task, list[Outcome]] = {task: [] for task in tasks}
    for number in range(1, rounds + 1):
        for task in tasks:
            outcome = take_turn(stage, task, CONTENDERS[task.contender])
            outcomes[task].append(outcome)
            console.print(
                f"round {number}: {task.contender}, {task.mode}, {task.shape}, {task.records:,} "
                f"records, {task.partitions} partitions"
                f"{'' if task.delay_ms is None else f', {task.delay_ms:g} ms'}: "
                f"{outcome.rows_per_second:,.0f} rows/s",
                style="dim",
                highlight=False,
            )
    return [Row(task, tuple(found)) for task, found in outcomes.items()]


@click.command()
@click.argument("case", type=click.Choice(list(CASES)))
@click.option(
    "--records",
    type=click.IntRange(min=1),
    help="[default: 1,000,000; for backlog the largest, 10,000,000]",
)
@click.option("--partitions", default=16, show_default=True, type=click.IntRange(min=1))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--only", multiple=True, type=click.Choice(list(CONTENDERS)), help="repeatable")
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
@click.option("--save", "keep", is_flag=True, help="keep it as benchmarks/results/DATE-CASE.json")
def main(
    case: str,
    records: int | None,
    partitions: int,
    rounds: int,
    only: tuple[str, ...],
    as_json: bool,  # noqa: FBT001
    keep: bool,  # noqa: FBT001
) -> None:
    """Compare contenders in one case: rows per second, memory, and the targets as ratios."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.width = WIDTH
    most = records or (10_000_000 if case == "backlog" else 1_000_000)
    tasks = CASES[case].tasks(only, most, partitions)
    if not tasks:
        raise click.UsageError(f"none of {', '.join(only)} can do {case}")
    # So that servers, contenders and the temporary directory go away then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with open_stage() as stage:
        machine = describe_machine(
            stage.kafka_version,
            stage.fetch_postgres_version(),
            {task.contender for task in tasks},
        )
        rows = compare(stage, tasks, rounds, console)
        machine["round_trips_ms"] = stage.round_trips_ms
    result = to_json(case, rows, machine, judge(case, rows))
    show(console, result)
    if as_json:
        print(json.dumps(result))
    if keep:
        console.print(f"kept as {save(result)}")


if __name__ == "__main__":
    main()
