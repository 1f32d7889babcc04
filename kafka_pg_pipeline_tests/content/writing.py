"""Batches of values through the product's encoder and writer, one after another, without Kafka."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

from kafka_pg_pipeline.adapters.postgres.writer import PostgresWriter
from kafka_pg_pipeline.assembly.session import StreamSession
from kafka_pg_pipeline.domain.batches import EncodedBatch
from kafka_pg_pipeline.domain.budgets import DeadLetterBudget
from kafka_pg_pipeline.domain.offsets import PartitionBounds, TopicSnapshot
from kafka_pg_pipeline.domain.tables import Column, TargetTable
from kafka_pg_pipeline_tests.batches import slice_of
from kafka_pg_pipeline_tests.encoding import FakeRecord, encode
from kafka_pg_pipeline_tests.fix_streams import Bench

_NO_LIMIT = DeadLetterBudget(max_records=1_000_000, max_share=1.0, max_run_records=1_000_000)


@dataclass
class Writing:
    """Writes into the table of a bench, each batch behind the one before."""

    session: StreamSession
    writer: PostgresWriter
    target: TargetTable
    next_offsets: Counter[int] = field(default_factory=Counter)

    @property
    def value_columns(self) -> list[Column]:
        return [column for column in self.target.columns if column.metadata is None]

    def make(self, values: Sequence[bytes], partition: int = 0) -> EncodedBatch:
        """The values as the next batch."""
        start = self.next_offsets[partition]
        end = start + len(values)
        records = [
            FakeRecord(value, offset=start + at, partition=partition)
            for at, value in enumerate(values)
        ]
        encoded = encode(self.target.columns, *records)
        piece = slice_of(start, end, visible=len(values), partition=partition)
        self.next_offsets[partition] = end
        return EncodedBatch(uuid4(), (piece,), encoded.chunks, encoded.dead)

    def write(self, values: Sequence[bytes]) -> int:
        """Write the values as one batch; return the offset of the first."""
        start = self.next_offsets[0]
        self.writer.write(self.make(values))
        return start

    def assert_accounted_for(self) -> None:
        assert self.session.inspection.verify(self.target).findings == ()


@contextmanager
def open_writing(bench: Bench, partitions: int = 1) -> Iterator[Writing]:
    """Start at offset 0 of a topic that only the pipeline's own tables know of."""
    with bench.session() as session:
        target = session.catalog.fetch_target()
        assert target is not None
        identity = slice_of(0, 1, visible=1).position.identity
        bounds = tuple(PartitionBounds(number, 0, 0, 0) for number in range(partitions))
        snapshot = TopicSnapshot(bench.stream.topic, identity, bounds)
        session.positions.check_in(snapshot, dict.fromkeys(range(partitions), 0))
        writer = PostgresWriter(
            bench.endpoints.postgres,
            target,
            stream=bench.name,
            topic=bench.stream.topic,
            run_id="test",
            loader="test",
            mode=bench.stream.write_mode,
            budget=_NO_LIMIT,
        )
        with closing(writer):
            yield Writing(session, writer, target)
