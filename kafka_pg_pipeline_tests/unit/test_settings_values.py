"""Sizes, times and names as the configuration file takes them."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from pydantic import ValidationError

from kafka_pg_pipeline.domain.checks import Check, Severity
from kafka_pg_pipeline.domain.tables import MetadataField
from kafka_pg_pipeline.settings.models import BatchSettings, StreamSettings
from kafka_pg_pipeline_tests.settings_files import load_stream, load_text, refuse_stream


@pytest.mark.parametrize(
    ("size", "value"),
    [
        ("64MiB", 64 * 2**20),
        ("64 MiB", 64 * 2**20),
        ("64mib", 64 * 2**20),
        ("1GiB", 2**30),
        ("1KiB", 1024),
        ("1.5MiB", 1_572_864),
        ("64MB", 64_000_000),
        ("500 kB", 500_000),
        ("65536B", 65_536),
        ("65536", 65_536),
        ("65_536", 65_536),
        ("'65536'", 65_536),
    ],
)
def test_sizes_have_units(tmp_path: Path, size: str, value: int) -> None:
    assert load_stream(tmp_path, f"batch: {{max_bytes: {size}}}").batch.max_bytes == value


@pytest.mark.parametrize(
    "size",
    ["64M", "64 kilo", "64MiB or so", "1023", "1.1GiB", "-5MiB", "MiB", "1e6", ".inf", "9" * 5000],
)
def test_other_sizes_are_refused(tmp_path: Path, size: str) -> None:
    (line,) = refuse_stream(tmp_path, f"batch: {{max_bytes: {size}}}")
    assert line.startswith("pipeline.yaml:5: streams.orders.batch.max_bytes: ")
    assert "allowed: a size from 1KiB to 1GiB: bytes, or with a unit as 64MiB" in line


def test_a_size_in_code_is_bytes() -> None:
    assert BatchSettings(max_bytes=2048).max_bytes == 2048
    with pytest.raises(ValidationError):
        BatchSettings(max_bytes=1)


NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T12:00:00Z", NOON),
        ("'2026-01-31T12:00:00Z'", NOON),
        ("2026-01-31 12:00Z", NOON),
        ("2026-01-31T14:00:00+02:00", NOON),
        ("2026-01-31T06:30:00.000000-0530", NOON),
        ("2026-01-31T12:00:00.123Z", NOON + timedelta(milliseconds=123)),
    ],
)
def test_a_time_with_its_zone_is_a_start(tmp_path: Path, text: str, moment: datetime) -> None:
    assert load_stream(tmp_path, f"start: {text}").start == moment


@pytest.mark.parametrize(
    "text", ["2026-01-31", "'2026-01-31'", "2026-01-31T12:00:00", "2026-01-31 12:00", "2026-1-31"]
)
def test_a_time_without_zone_is_no_start(tmp_path: Path, text: str) -> None:
    (line,) = refuse_stream(tmp_path, f"start: {text}")
    assert line == (
        "pipeline.yaml:5: streams.orders.start: a time needs hours, minutes and its zone; allowed: "
        "'earliest' or 'latest', or a time with its zone, as 2026-01-31T12:00:00Z"
    )


@pytest.mark.parametrize(
    "text",
    [
        "erliest",
        "on",
        "5",
        "'1769817600'",
        "1769817600.5",
        "[earliest]",
        "2026-13-31T00:00Z",
        "12:00Z",
    ],
)
def test_anything_else_is_no_start(tmp_path: Path, text: str) -> None:
    (line,) = refuse_stream(tmp_path, f"start: {text}")
    assert line.startswith("pipeline.yaml:5: streams.orders.start: this value ")
    assert "allowed: 'earliest' or 'latest', or a time with its zone" in line


def test_a_time_in_code_needs_its_zone_too() -> None:
    given = {"topic": "t", "table": "t"}
    assert StreamSettings.model_validate({**given, "start": NOON}).start == NOON
    with pytest.raises(ValidationError, match="a time needs its zone"):
        StreamSettings.model_validate({**given, "start": NOON.replace(tzinfo=None)})


def test_metadata_as_a_list_names_the_columns_by_itself(tmp_path: Path) -> None:
    everything = ", ".join(field.value for field in MetadataField)
    assert load_stream(tmp_path, f"metadata: [{everything}]").metadata == {
        field: f"kafka_{field.value}" for field in MetadataField
    }


def test_metadata_as_a_section_renames_the_columns(tmp_path: Path) -> None:
    stream = load_stream(tmp_path, "metadata: {offset: no, partition: p}")
    assert stream.metadata == {MetadataField.OFFSET: "no", MetadataField.PARTITION: "p"}


def test_settings_survive_being_written_down_and_read_again(tmp_path: Path) -> None:
    stream = load_stream(
        tmp_path,
        "start: 2026-01-31T12:00:00+02:00\n"
        "    metadata: [offset]\n"
        "    batch: {max_bytes: 64MiB}\n"
        "    source: {count: 5}",
    )
    dumped = stream.model_dump(mode="json", exclude_unset=True, by_alias=True)
    assert StreamSettings.model_validate(dumped) == stream


@pytest.mark.parametrize(
    "schedule",
    [
        "*/5 * * * *",
        "0 0 L * *",
        "0  0 * * MON-FRI",
        "@daily",
        "0 0 * * mon#1",
        "5,35 8-18 * * 1-5",
    ],
)
def test_cron_expressions(tmp_path: Path, schedule: str) -> None:
    assert load_stream(tmp_path, f'schedule: "{schedule}"').schedule == schedule


@pytest.mark.parametrize("table", ["orders", "p.größe", "p.MiXed", "'a b.c %s'", "'p.we\"ird'"])
def test_tables_may_have_any_name(tmp_path: Path, table: str) -> None:
    loaded = load_text(tmp_path, f"streams: {{a: {{topic: t, table: {table}}}}}\n")
    assert loaded.settings.streams["a"].table == table.strip("'")


def test_severities_are_told_for_all_checks_or_for_some(tmp_path: Path) -> None:
    usual = load_stream(tmp_path).checks.severities
    assert set(usual) == set(Check)
    assert {check for check, word in usual.items() if word is Severity.WARN} == {
        Check.LAG,
        Check.FRESHNESS,
        Check.DEAD_LETTER_SHARE,
    }
    assert set(usual.values()) == {Severity.WARN, Severity.ERROR}
    all_warn = load_stream(tmp_path, "checks: {severity: '${WORD}'}", WORD="warn").checks.severities
    assert all_warn == dict.fromkeys(Check, Severity.WARN)
    assert load_stream(tmp_path, "checks: {severity: off}").checks.severities == {}
    some = load_stream(tmp_path, "checks: {severity: {lag: off, tiling: warn}}").checks.severities
    assert some == {
        check: Severity.WARN if check is Check.TILING else word
        for check, word in usual.items()
        if check is not Check.LAG
    }
