"""Modes and formats: rows per second of kafka-pg load beside reading alone, all in one run.

One broker and one PostgreSQL on this machine, and the topic of ``append.py``: each record has a
key of its own. ``upsert-existing`` loads it into a table that holds all the keys already. ``avro``
and ``debezium`` append the same records, encoded so, from topics of their own. Every contender runs
in a process of its own.
"""

import io
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import append
import click
import fastavro
import psycopg2
from rich.console import Console
from rich.table import Table

from kafka_pg_pipeline.local.stack import LocalEndpoints, LocalStack

KEYED = "    key: [id]\n"
MODES = {
    "append": "    mode: append\n",
    "insert-ignore": f"    mode: insert-ignore\n{KEYED}",
    "upsert-fresh": f"    mode: upsert\n{KEYED}",
    "upsert-existing": f"    mode: upsert\n{KEYED}",
    "newest-wins": f"    mode: upsert\n{KEYED}    newest_wins: true\n",
}
AVRO = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "category", "type": "string"},
        {"name": "value", "type": "double"},
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
WRITER = fastavro.parse_schema(
    {**AVRO, "fields": [*AVRO["fields"][:3], {"name": "ts", "type": "long"}]}
)
FIRST_MOMENT = 1_767_225_600_000
MODES |= {
    "avro": "    format: avro\n    schema_file: event.avsc\n",
    "debezium": "    format: debezium\n",
}
TOPICS = {"avro": "bench.avro", "debezium": "bench.debezium"}
METADATA = "    metadata: [partition, offset, incarnation]\n"


def avro_record(number: int) -> bytes:
    data = io.BytesIO()
    event = {
        "id": number,
        "category": f"category-{number % 17}",
        "value": number % 1000 + number % 97 / 100,
        "ts": FIRST_MOMENT + number % 86_400_000,
    }
    fastavro.schemaless_writer(data, WRITER, event)
    return data.getvalue()


def debezium_record(number: int) -> bytes:
    row = append.record(number).decode()
    source = '{"version":"3.0","connector":"postgresql","name":"bench","ts_ms":1767225600000}'
    return (
        f'{{"before":null,"after":{row},"source":{source},"op":"c","ts_ms":1767225600000}}'.encode()
    )


def load(mode: str, number: int, endpoints: LocalEndpoints) -> dict[str, Any]:
    """``kafka-pg load`` of a new stream into a new table, or one that a load before it filled."""
    if mode == "upsert-existing":
        run_load(mode, f"{number}_before", f"{number}", endpoints)
    report = run_load(mode, f"{number}", f"{number}", endpoints)
    drop(f"bench_{mode.replace('-', '_')}_{number}", endpoints)
    return report


def run_load(mode: str, stream: str, table: str, endpoints: LocalEndpoints) -> dict[str, Any]:
    word = mode.replace("-", "_")
    home = Path(os.environ["KAFKA_PG_HOME"])
    configuration = home / f"{word}_{stream}.yaml"
    configuration.write_text(
        f"postgres: {{schema: bench_{word}_{stream}}}\n"
        f"streams:\n  bench_{word}_{stream}:\n    topic: {TOPICS.get(mode, append.TOPIC)}\n"
        f"    table: public.bench_{word}_{table}\n{METADATA}{MODES[mode]}"
    )
    command = [sys.executable, "-m", "kafka_pg_pipeline", "load", "--json", "-c", configuration]
    done = subprocess.run(
        [*map(str, command)],
        env={**os.environ, **endpoints.environment()},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    report = json.loads(done.stdout)
    (stream_report,) = report.get("streams", [report])
    return {"rows": stream_report["rows"], "seconds": stream_report["seconds"], "peak": 0}


def drop(table: str, endpoints: LocalEndpoints) -> None:
    connection = psycopg2.connect(
        host=endpoints.host,
        port=endpoints.port,
        user=endpoints.user,
        password=endpoints.password,
        dbname=endpoints.dbname,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(f'DROP TABLE "{table}"')
    connection.close()


@click.command()
@click.option("--records", default=1_000_000, show_default=True)
@click.option("--partitions", default=16, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--only", multiple=True, type=click.Choice(["read", *MODES]))
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
@click.option("--contender", hidden=True)
@click.option("--round", "number", default=0, hidden=True)
def main(
    records: int,
    partitions: int,
    rounds: int,
    only: tuple[str, ...],
    as_json: bool,  # noqa: FBT001
    contender: str | None,
    number: int,
) -> None:
    """Rows per second of kafka-pg load in each mode and format beside reading alone."""
    if contender:
        endpoints = LocalStack().endpoints()
        if contender == "read":
            result = append.run_contender("read", number, endpoints, records, partitions)
        else:
            result = load(contender, number, endpoints)
        print(json.dumps(result))
        return
    with tempfile.TemporaryDirectory(prefix="kafka_pg_bench_") as home:
        os.environ["KAFKA_PG_HOME"] = home
        stack = LocalStack(die_with_parent=True)
        endpoints = stack.up()
        try:
            append.fill(endpoints.bootstrap_servers, records, partitions)
            for name, make in (("avro", avro_record), ("debezium", debezium_record)):
                if not only or name in only:
                    servers = endpoints.bootstrap_servers
                    append.fill(servers, records, partitions, TOPICS[name], make)
            (Path(home) / "event.avsc").write_text(json.dumps(AVRO))
            arguments = ["--records", str(records), "--partitions", str(partitions)]
            results = {
                name: append.measure(name, arguments, rounds, script=__file__)
                for name in only or ("read", *MODES)
            }
        finally:
            stack.down()
    show(Console(stderr=as_json), results, records, partitions, rounds)
    if as_json:
        print(json.dumps({name: result[:2] for name, result in results.items()}))


def show(
    console: Console,
    results: dict[str, tuple[int, float, int]],
    records: int,
    partitions: int,
    rounds: int,
) -> None:
    speeds = {name: rows / seconds for name, (rows, seconds, _) in results.items()}
    table = Table("what", "rows", "seconds", "rows/s", "of reading alone")
    for name, (rows, seconds, _) in results.items():
        share = f"{speeds[name] / speeds['read']:.2f}" if "read" in speeds else ""
        table.add_row(name, f"{rows:,}", f"{seconds:.2f}", f"{speeds[name]:,.0f}", share)
    console.print(
        f"{records:,} records, {partitions} partitions, snappy; median of {rounds}; "
        f"{os.cpu_count()} cores, Python {platform.python_version()}"
    )
    console.print(table)


if __name__ == "__main__":
    main()
