"""Fingerprints tell one record from another at the same offset."""

from hypothesis import given
from hypothesis import strategies as st

from kafka_pg_pipeline.domain.fingerprints import fingerprint
from kafka_pg_pipeline_tests.batches import PlainRecord

PARTS = st.none() | st.binary(max_size=8)


@given(PARTS, PARTS, PARTS, PARTS)
def test_records_share_a_digest_only_with_the_same_key_and_value(
    key: bytes | None, value: bytes | None, other_key: bytes | None, other_value: bytes | None
) -> None:
    one = fingerprint(PlainRecord(key=key, value=value))
    other = fingerprint(PlainRecord(key=other_key, value=other_value))
    assert (one == other) == ((key, value) == (other_key, other_value))


def test_none_and_empty_and_the_place_of_bytes_are_kept_apart() -> None:
    shapes = [(None, None), (b"", None), (None, b""), (b"", b""), (b"ab", b"c"), (b"a", b"bc")]
    digests = {fingerprint(PlainRecord(key=key, value=value)).digest for key, value in shapes}
    assert len(digests) == len(shapes)


def test_offset_and_timestamp_belong_to_it() -> None:
    tail = fingerprint(PlainRecord(offset=7, timestamp=-1))
    assert (tail.offset, tail.timestamp, len(tail.digest)) == (7, -1, 16)
    assert tail != fingerprint(PlainRecord(offset=8, timestamp=-1))
    assert tail != fingerprint(PlainRecord(offset=7, timestamp=0))


def test_the_digest_stays_the_same_over_versions() -> None:
    """It is stored: another digest of the same record would read as a rewritten log."""
    tail = fingerprint(PlainRecord(key=b"k", value=b'{"id": 1}'))
    assert tail.digest.hex() == "e3903194d2283aa6d75d8f4efff3e86a"
