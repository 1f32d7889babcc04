"""Log lines: one a batch, as text for people or as JSON for machines, and never a secret."""

import json
import logging
from typing import Any
from uuid import UUID

import pytest

from kafka_pg_pipeline.cli import logs
from kafka_pg_pipeline.domain.batches import BatchCounts, LedgerEntry, WriteResult, WriteStatus
from kafka_pg_pipeline.domain.offsets import OffsetRange
from kafka_pg_pipeline.pipeline.batch_log import BatchLog
from kafka_pg_pipeline.settings.models import BatchSettings, DeadLetterSettings
from kafka_pg_pipeline_tests.cli.conftest import CommandLine
from kafka_pg_pipeline_tests.fix_streams import Bench


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def waiting(bench: Bench, command_line: CommandLine) -> Bench:
    """60 records, one of them no JSON, to be loaded in batches of 20."""
    bench.create_topic(partitions=2)
    values: list[Any] = [{"id": number, "word": "confidential"} for number in range(60)]
    values[7] = b"confidential"
    bench.produce(values, partition=lambda index: index % 2)
    bench = bench.with_stream(
        batch=BatchSettings(max_rows=20), dead_letters=DeadLetterSettings(max_share=1.0)
    )
    command_line.use(bench)
    return bench


@pytest.mark.parametrize("way", ["option", "variable"])
def test_each_batch_is_one_json_line_with_its_numbers(
    command_line: CommandLine, waiting: Bench, way: str
) -> None:
    if way == "option":
        finished = command_line.run("load", "-v", "--log-format", "json", "--json")
    else:
        command_line.environment["KAFKA_PG_LOG_FORMAT"] = "json"
        finished = command_line.run("load", "--json")
    assert finished.code == 0
    lines = lines_of(finished.err)
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    batches = [line for line in lines if "ranges" in line]
    assert len(batches) == finished.json["streams"][0]["batches"] == 3
    assert sum(line["rows"] for line in batches) == 59
    assert sum(line["dead"] for line in batches) == 1
    covered = [piece for line in batches for piece in line["ranges"]]
    assert sum(piece["end_offset"] - piece["start_offset"] for piece in covered) == 60
    for line in batches:
        assert (line["stream"], line["topic"]) == (waiting.name, waiting.stream.topic)
        assert line["run_id"].startswith("cli-")
        assert line["seconds"] >= 0
    assert [line["batch_id"] for line in batches] == [
        row[0]
        for row in waiting.query(
            "SELECT batch_id::text FROM {schema}.ledger GROUP BY 1 ORDER BY min(committed_at)"
        )
    ]
    assert "confidential" not in finished.err


def test_text_has_the_same_line_for_people(command_line: CommandLine, waiting: Bench) -> None:
    finished = command_line.run("load", "-v")
    batches = [line for line in finished.err.splitlines() if " committed, " in line]
    assert len(batches) == 3
    assert batches[0].startswith(f"{waiting.name}: {waiting.stream.topic}[")
    assert "batch 1," not in finished.err
    assert "batch 1," in command_line.run("reset", waiting.name, "--to", "earliest").err + (
        command_line.run("load").err
    )


def test_errors_and_notes_are_json_too(command_line: CommandLine, waiting: Bench) -> None:
    waiting.delete_topic()
    finished = command_line.run("load", "--log-format", "json")
    assert finished.code == 1
    *_, last = lines_of(finished.err)
    assert last["level"] == "ERROR"
    assert waiting.stream.topic in last["message"]
    assert not last["message"].startswith("error:")
    unknown = command_line.run("load", "nowhere", "--log-format", "json")
    assert lines_of(unknown.err)[0]["level"] == "ERROR"


def test_an_unknown_format_is_refused(command_line: CommandLine) -> None:
    command_line.environment["KAFKA_PG_LOG_FORMAT"] = "xml"
    finished = command_line.run("status")
    assert finished.code == 2
    assert "'--log-format': 'xml' is not one of 'text', 'json'" in finished.err


def test_a_secret_is_hidden_in_every_field_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    """As it is, not as JSON spells it: quotes and backslashes of a password are doubled there."""
    secret = 'pa"ss\\wörd'
    logs.keep_secret(secret)
    logger = logging.getLogger("kafka_pg_pipeline.test")
    handler = logs._StandardErrorHandler()
    logger.addHandler(handler)
    logs.set_format("json")
    try:
        logger.warning("see %s", secret, extra={"where": [{"deep": f"x{secret}y"}]})
        logs.write_line(f"note {secret}")
    finally:
        logs.set_format("text")
        logger.removeHandler(handler)
        logs._secrets.discard(secret)
        logging.getLogger("kafka_pg_pipeline").setLevel(logging.NOTSET)
    first, second = lines_of(capsys.readouterr().err)
    assert (first["message"], first["where"]) == ("see ***", [{"deep": "x***y"}])
    assert second["message"] == "note ***"


def test_seconds_are_those_since_the_batch_before(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    moments = iter((10.0, 12.5, 13.0))
    log = BatchLog(
        stream="s",
        topic="t",
        run_id="r",
        log=logging.getLogger("test"),
        clock=lambda: next(moments),
    )
    entries = tuple(
        LedgerEntry(UUID(int=1), OffsetRange(partition, 0, 5), BatchCounts(rows=4, dead=1), 10)
        for partition in (0, 3)
    )
    for _ in range(2):
        log(WriteResult(WriteStatus.COMMITTED, entries))
    assert [record.message for record in caplog.records] == [
        "s: t[0]@0..5 [3]@0..5 committed, 8 rows, 2 dead, 0 absent, 2.50 s",
        "s: t[0]@0..5 [3]@0..5 committed, 8 rows, 2 dead, 0 absent, 0.50 s",
    ]
    assert vars(caplog.records[0])["record_bytes"] == 20
