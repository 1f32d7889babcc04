"""A broker's log on its disk, and bytes of it turned over."""

import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient

from kafka_pg_pipeline.adapters.kafka.connection import ClientKeeper
from kafka_pg_pipeline.adapters.kafka.sockets import DIRECT
from kafka_pg_pipeline_tests.fix_streams import Bench

_OVERHEAD = 12  # base offset and length, which the length does not count
_LAST_DELTA_AT = 23


@dataclass(frozen=True)
class StoredBatch:
    """A record batch in a segment: its offsets, and where its bytes lie."""

    segment: Path
    start: int
    end: int
    base_offset: int
    next_offset: int


def find_batches(bench: Bench, partition: int) -> list[StoredBatch]:
    """The batches of a partition, in the order of their offsets."""
    return [
        batch
        for segment in sorted(_find_directory(bench, partition).glob("*.log"))
        for batch in _split(segment)
    ]


def corrupt(batch: StoredBatch) -> None:
    """Turn over the last byte of a batch, as a bad disk does: its checksum is wrong then."""
    with batch.segment.open("r+b") as file:
        file.seek(batch.end - 1)
        [last] = file.read(1)
        file.seek(batch.end - 1)
        file.write(bytes([last ^ 0xFF]))


def _split(segment: Path) -> Iterator[StoredBatch]:
    content, start = segment.read_bytes(), 0
    while start + _LAST_DELTA_AT < len(content):
        base, length = struct.unpack_from(">qi", content, start)
        if not length:
            return  # preallocated space
        [delta] = struct.unpack_from(">i", content, start + _LAST_DELTA_AT)
        end = start + _OVERHEAD + length
        yield StoredBatch(segment, start, end, base, base + delta + 1)
        start = end


def _find_directory(bench: Bench, partition: int) -> Path:
    admin: Any = KafkaAdminClient(
        bootstrap_servers=bench.bootstrap_servers, kafka_client=ClientKeeper(), proxy_url=DIRECT
    )
    with closing(admin):
        brokers = admin.describe_log_dirs()
    [found] = [Path(place["log_dir"]) for broker in brokers for place in broker["log_dirs"]]
    return found / f"{bench.stream.topic}-{partition}"
