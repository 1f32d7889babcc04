"""Accounts of all streams at once, again and again: each look reads what is new in the ledger."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from kafka_pg_pipeline.adapters.postgres.connection import Primary, Statements, rows_of
from kafka_pg_pipeline.domain.measures import StreamAccount, StreamTotals

_Epoch = tuple[str, str, int, int, int]


class LedgerAccounts:
    """Remembers how far the ledger was read, so that no look scans it again. Not thread-safe."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._totals: defaultdict[str, StreamTotals] = defaultdict(StreamTotals)
        self._seen: dict[_Epoch, int] = {}

    def fetch(self, primary: Primary) -> Mapping[str, StreamAccount]:
        """The account of each stream by its name.

        Raises:
            PipelineError: PostgreSQL could not say.
        """
        statements = Statements("metrics", primary.settings.schema_name)
        names = {"names": self._names}
        with primary.look("read the ledger", statements=4) as cursor:
            cursor.execute(statements["ledger_since"], {**names, **self._describe_seen()})
            lines = rows_of(cursor)
            cursor.execute(statements["unresolved"], names)
            unresolved = {row["stream"]: row["letters"] for row in rows_of(cursor)}
            cursor.execute(statements["paused"], names)
            paused = {row["stream"] for row in rows_of(cursor)}
            cursor.execute(statements["failures"], names)
            failures = {row["stream"]: row["failures"] for row in rows_of(cursor)}
        for line in lines:
            self._add(line)
        return {
            name: StreamAccount(
                self._totals[name], unresolved.get(name, 0), name in paused, failures.get(name, 0)
            )
            for name in self._names
        }

    def _add(self, line: Mapping[str, Any]) -> None:
        names = ("stream", "topic", "partition", "incarnation", "epoch")
        stream, topic, partition, incarnation, epoch = (line[name] for name in names)
        self._seen[stream, topic, partition, incarnation, epoch] = line["next_offset"]
        self._totals[stream] += StreamTotals(
            line["rows"], line["dead"], line["record_bytes"], line["last_commit"]
        )

    def _describe_seen(self) -> Mapping[str, list[Any]]:
        columns = ("streams", "topics", "partitions", "incarnations", "epochs")
        described: dict[str, list[Any]] = {
            name: [epoch[index] for epoch in self._seen] for index, name in enumerate(columns)
        }
        return {**described, "next_offsets": list(self._seen.values())}
