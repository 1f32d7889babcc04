"""The lines of a batch for one list of columns, gathered one by one and in blocks."""

from collections.abc import Iterator

from kafka_pg_pipeline.domain.batches import CopyChunk
from kafka_pg_pipeline.domain.copy_text import CopyFormat, CopyLines, TextLines, join_lines
from kafka_pg_pipeline.domain.documents import Change
from kafka_pg_pipeline.domain.record_runs import JoinedRecords, ListedRecords, RecordRun
from kafka_pg_pipeline.domain.records import Record


class ChunkLines:
    """Lines in the order of their records, and the record that each was made from."""

    def __init__(self) -> None:
        self._blocks: list[tuple[CopyLines, RecordRun]] = []
        self._texts: list[str] = []
        self._records: list[Record] = []

    def __bool__(self) -> bool:
        return bool(self._blocks or self._texts)

    def add(self, text: str, record: Record) -> None:
        """Add one line of TEXT."""
        self._texts.append(text)
        self._records.append(record)

    def add_block(self, lines: CopyLines, records: RecordRun) -> None:
        """Add many lines."""
        self._close_block()
        self._blocks.append((lines, records))

    def texts(self) -> Iterator[str]:
        """All lines, as TEXT."""
        self._close_block()
        for lines, _ in self._blocks:
            yield from lines

    def partitions(self) -> Iterator[int]:
        """The partition of each line's record."""
        self._close_block()
        for _, records in self._blocks:
            yield from records.column("partition")

    def chunks(self, columns: tuple[str, ...], change: Change) -> Iterator[CopyChunk]:
        """The lines as chunks for these columns, one for each format that there is."""
        self._close_block()
        for form in CopyFormat:
            blocks = [block for block in self._blocks if block[0].format is form]
            if blocks:
                lines = join_lines([lines for lines, _ in blocks])
                records = JoinedRecords(records for _, records in blocks)
                yield CopyChunk(columns, lines, records, change)

    def _close_block(self) -> None:
        if self._texts:
            self._blocks.append((TextLines(self._texts), ListedRecords(self._records)))
            self._texts, self._records = [], []
