"""The fingerprint of the last loaded record: it tells a rewritten log from a continued one."""

import hashlib

from kafka_pg_pipeline.domain.offsets import Tail
from kafka_pg_pipeline.domain.records import Record

_DIGEST_BYTES = 16


def fingerprint(record: Record) -> Tail:
    """Offset, timestamp and a BLAKE2b digest of key and value, None and empty kept apart."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in (record.key, record.value):
        digest.update(b"\0" if part is None else b"\1" + len(part).to_bytes(8, "big"))
        digest.update(part or b"")
    return Tail(record.offset, record.timestamp, digest.digest())
