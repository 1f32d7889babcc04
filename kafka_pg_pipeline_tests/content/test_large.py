"""Records of 20 MB: they land whole, and a batch holds no more than its budget and one of them."""

import hashlib
import json

import pytest

from kafka_pg_pipeline.settings.models import BatchSettings
from kafka_pg_pipeline_tests.content.landing import create_table, one_partition
from kafka_pg_pipeline_tests.fix_streams import Bench

LARGE = 20_000_000
BUDGET = 4_000_000
PATTERN = "ü \\N\t\n\\." + "plain" * 20
SMALL = {"text": "small"}


@pytest.fixture
def roomy(bench: Bench) -> Bench:
    """A stream whose topic takes large messages and whose batches have a small budget."""
    bench = bench.with_stream(batch=BatchSettings(max_bytes=BUDGET))
    bench.create_topic(1, **{"max.message.bytes": str(2 * LARGE)})
    create_table(bench, {"text": "text", "jsonb": "jsonb"})
    for column in ("text", "jsonb"):  # compressing takes PostgreSQL seconds
        bench.query(f"ALTER TABLE {{table}} ALTER {column} SET STORAGE EXTERNAL")
    return bench


def large_text(column: str, ending: str = "") -> str:
    """A text that fills a record of 20 MB, with what JSON and COPY escape all over it."""
    repeated = PATTERN * (LARGE // len(encoded(PATTERN)))
    room = LARGE - len(encoded({column: repeated + ending}))
    return repeated + "x" * room + ending


def encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def produce_large(bench: Bench, column: str, ending: str = "") -> str:
    text = large_text(column, ending)
    record = encoded({column: text})
    assert len(record) == LARGE
    bench.produce(
        [SMALL, record, SMALL], partition=one_partition, **{"message.max.bytes": 2 * LARGE}
    )
    return hashlib.md5(text.encode()).hexdigest()


def test_a_string_of_20_mb_lands_whole_and_the_byte_budget_holds(roomy: Bench) -> None:
    in_text, in_jsonb = produce_large(roomy, "text"), produce_large(roomy, "jsonb")
    assert roomy.load().counts.rows == 6
    landed = roomy.query(
        "SELECT md5(text), md5(jsonb #>> '{{}}') FROM {table}"
        " WHERE text IS DISTINCT FROM 'small' ORDER BY kafka_offset"
    )
    assert landed == [(in_text, None), (None, in_jsonb)]
    batches = roomy.query("SELECT record_bytes FROM {schema}.ledger")
    assert max(size for (size,) in batches) < BUDGET + LARGE
    assert roomy.findings() == []


def test_a_string_of_20_mb_that_cannot_land_is_kept_whole(roomy: Bench) -> None:
    produce_large(roomy, "text", ending="\0")
    report = roomy.load()
    assert (report.counts.rows, report.counts.dead) == (2, 1)
    roomy.assert_exactly_once()
