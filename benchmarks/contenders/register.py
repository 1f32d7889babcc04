"""The contenders by name."""

from collections.abc import Callable
from functools import partial

from peers import fetch_python
from stage import Order, Stage

from contenders import connect, ours
from contenders.contender import Clock, Contender, Took
from contenders.script import run_script

OUR_MODES = frozenset(ours.MODES)
UPSERTS = frozenset({"append", "upsert"})
JSON = frozenset({"narrow", "wide"})


def loader(reader: str, max_lanes: str = "auto") -> Contender:
    lanes = "" if max_lanes == "auto" else f", {max_lanes} lane"
    return Contender(
        f"kafka-pg load, {reader}{lanes}",
        partial(ours.load, reader=reader, max_lanes=max_lanes),
        modes=OUR_MODES,
        extra_columns={"newest-wins": ours.VERSION_COLUMNS},
    )


def reading(reader: str) -> Contender:
    title = f"{reader}, reading alone"
    run = partial(run_script, name="reading.py", reader=reader)
    return Contender(title, run, fills_table=False, modes=OUR_MODES)


def loop(way: str, title: str, most_records: int | None = None) -> Contender:
    run = partial(run_script, name="loops.py", way=way)
    return Contender(title, run, most_records=most_records, shapes=JSON)


def peer(script: str, *, endless: bool) -> Callable[[Stage, Order], Took]:
    def run(stage: Stage, order: Order) -> Took:
        return run_script(stage, order, script, python=fetch_python(), endless=endless)

    return run


CONTENDERS: dict[str, Contender] = {
    "ours": loader("kafka-python"),
    "ours-fast": loader("confluent"),
    "ours-one-lane": loader("kafka-python", "1"),
    "ours-fast-one-lane": loader("confluent", "1"),
    "read": reading("kafka-python"),
    "read-fast": reading("confluent"),
    "copy": Contender(
        "COPY alone, text made before",
        partial(run_script, name="copying.py"),
        shapes=frozenset({"narrow"}),
    ),
    "insert": loop("insert", "loop of INSERTs, one a record", most_records=50_000),
    "execute-values": loop("execute-values", "loop of execute_values"),
    "connect": Contender(
        "Debezium JDBC sink on Kafka Connect, unnest",
        partial(connect.sink, unnest=True),
        Clock.COMMITS,
        shapes=JSON | {"debezium"},
        modes=UPSERTS,
    ),
    "connect-plain": Contender(
        "Debezium JDBC sink on Kafka Connect",
        partial(connect.sink, unnest=False),
        Clock.COMMITS,
        shapes=JSON | {"debezium"},
        modes=UPSERTS,
    ),
    "quix": Contender(
        "Quix Streams, PostgreSQLSink",
        peer("quix_sink.py", endless=False),
        Clock.COMMITS,
        modes=UPSERTS,
    ),
    "pathway": Contender(
        "Pathway",
        peer("pathway_pipeline.py", endless=True),
        Clock.COMMITS,
        extra_columns={"append": "time bigint NOT NULL, diff smallint NOT NULL"},
        other_types={"timestamptz": "text"},
        shapes=JSON | {"debezium"},
        modes=UPSERTS,
    ),
    "dlt": Contender("dlt, Arrow and ADBC", peer("dlt_pipeline.py", endless=False), modes=UPSERTS),
}
