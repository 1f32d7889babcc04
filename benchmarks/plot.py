"""Draws kept results: ``python benchmarks/plot.py benchmarks/results/2026-11-26-append.json``.

Writes docs/images/benchmark-CASE.png for each: bars of rows a second, or a curve where records,
partitions or the round trip vary. matplotlib is among the peers' packages, so this runs itself
again with their Python where it is missing.
"""

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

IMAGES = Path(__file__).parents[1] / "docs" / "images"
OURS, OTHERS = "#2a6fbb", "#b9bfc7"
BOUNDS = "#e3c16f"
CURVES = {
    "backlog": ("records", "records of backlog"),
    "partitions": ("partitions", "partitions"),
    "round-trip": ("delay_ms", "added round trip, ms"),
}


def draw(result: dict[str, Any]) -> Path:
    """One picture of one result."""
    from matplotlib import pyplot

    case, machine = result["case"], result["machine"]
    if case == "latency":
        figure, how = draw_latency(result), f"{result['rate']:,} records a second"
    else:
        figure = draw_curves(result) if case in CURVES else draw_bars(result)
        how = f"medians of {len(result['rows'][0]['rounds'])}"
    figure.suptitle(
        f"{case}: {machine['cores']} cores, Kafka {machine['Kafka']}, "
        f"PostgreSQL {machine['PostgreSQL']}, {result['date']}; {how}",
        fontsize=9,
    )
    path = IMAGES / f"benchmark-{result['case']}.png"
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(figure)
    return path


def draw_bars(result: dict[str, Any]) -> Any:
    """Rows a second, each with its slowest and fastest round."""
    from matplotlib import pyplot

    rows = sorted(result["rows"], key=lambda row: row["rows_per_second"])
    figure, axes = pyplot.subplots(figsize=(8, 0.8 + 0.36 * len(rows)))
    speeds = [row["rows_per_second"] for row in rows]
    spread = [
        [row["rows_per_second"] - min(row["rounds"]) for row in rows],
        [max(row["rounds"]) - row["rows_per_second"] for row in rows],
    ]
    names = [name_row(row, rows) for row in rows]
    axes.barh(names, speeds, xerr=spread, color=[choose_colour(row) for row in rows], ecolor="#555")
    for place, row in enumerate(rows):
        speed = f" {row['rows_per_second']:,}"
        axes.text(max(row["rounds"]), place, speed, va="center", fontsize=8)
    axes.set_xlabel("rows a second")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_curves(result: dict[str, Any]) -> Any:
    """Rows a second over what varies, and beside it the peak memory."""
    from matplotlib import pyplot

    key, label = CURVES[result["case"]]
    figure, (speed, memory) = pyplot.subplots(1, 2, figsize=(10, 3.6))
    curves: dict[str, list[dict[str, Any]]] = {}
    for row in result["rows"]:
        varies = len({other["mode"] for other in result["rows"]}) > 1
        name = f"{row['title']}, {row['mode']}" if varies else row["title"]
        curves.setdefault(name, []).append(row)
    for name, rows in curves.items():
        places = [row[key] for row in rows]
        speed.plot(places, [row["rows_per_second"] for row in rows], marker="o", label=name)
        memory.plot(places, [row["peak_mib"] for row in rows], marker="o")
    for axes, title in ((speed, "rows a second"), (memory, "peak memory, MiB")):
        axes.set_ylim(bottom=0)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(label)
        axes.spines[["top", "right"]].set_visible(False)
        if key != "delay_ms":
            axes.set_xscale("log")
    speed.yaxis.set_major_formatter("{x:,.0f}")
    speed.set_ylim(top=1.4 * speed.get_ylim()[1])  # room for the legend
    speed.legend(fontsize=7, loc="upper left")
    return figure


def draw_latency(result: dict[str, Any]) -> Any:
    """The share of all records that were committed within so many seconds."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3.6))
    for row in result["rows"]:
        shares, seconds = zip(*row["seconds_by_share"], strict=True)
        percent = [100 * share for share in shares]
        axes.plot(seconds, percent, label=f"{row['title']}: p95 {row['p95']:.2f} s")
    axes.axhline(95, color="#999", linewidth=0.8, linestyle="dotted")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 101)
    axes.set_xlabel("seconds from the record's timestamp to its committed row")
    axes.set_ylabel("% of records")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8)
    return figure


def name_row(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    varies = len({other["mode"] for other in rows}) > 1
    return f"{row['title']}, {row['mode']}" if varies else str(row["title"])


def choose_colour(row: dict[str, Any]) -> str:
    if row["contender"].startswith("ours"):
        return OURS
    return BOUNDS if row["contender"] in ("read", "read-fast", "copy") else OTHERS


def main() -> None:
    if find_spec("matplotlib") is None:
        from peers import fetch_python

        python = fetch_python()
        os.execv(python, [python, __file__, *sys.argv[1:]])
    import matplotlib as mpl

    mpl.use("agg")
    for name in sys.argv[1:]:
        print(draw(json.loads(Path(name).read_text())))


if __name__ == "__main__":
    main()
