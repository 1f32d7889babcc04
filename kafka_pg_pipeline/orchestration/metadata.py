"""What Dagster shows of a run: numbers as numbers, so that they are plotted over time."""

from collections.abc import Mapping, Sequence

import dagster as dg

from kafka_pg_pipeline.assembly.landed import Landed, TopicState
from kafka_pg_pipeline.domain.letters import ReplayReport
from kafka_pg_pipeline.domain.planning import LoadPlan, count_blocked
from kafka_pg_pipeline.domain.reports import LoadReport, PartitionTotals
from kafka_pg_pipeline.domain.tables import (
    Attribute,
    Column,
    Constant,
    Header,
    KeyField,
    Rest,
    ValueField,
)

MetadataMap = Mapping[str, dg.MetadataValue]

_PREVIEW_COLUMNS = 12
_PREVIEW_CHARACTERS = 60
# What Markdown, or HTML in it, would take for its own.
_ESCAPES = {mark: f"&#{ord(mark)};" for mark in "|<>&*_`~[]\\#!"} | dict.fromkeys("\r\n\t", " ")


def describe_plan(plan: LoadPlan) -> MetadataMap:
    """Metadata of the frozen plan: what the topic offers."""
    records = [
        dg.TableRecord(
            {
                "partition": bounds.partition,
                "begin": bounds.begin_offset,
                "end": bounds.end_offset,
                "high watermark": bounds.high_watermark,
            }
        )
        for bounds in plan.snapshot.partitions
    ]
    return {
        "kafka/topic": dg.MetadataValue.text(plan.snapshot.topic),
        "kafka/topic_id": dg.MetadataValue.text(plan.snapshot.identity.topic_id or "none"),
        "kafka/partitions": dg.MetadataValue.int(len(plan.snapshot.partitions)),
        "kafka/blocked_records": dg.MetadataValue.int(count_blocked(plan.snapshot)),
        "kafka/bounds": dg.MetadataValue.table(records, schema=_BOUNDS_SCHEMA),
    }


def describe_landed(landed: Landed) -> MetadataMap:
    """Metadata of a load: its report, the table's columns, and rows where the stream allows it."""
    metadata: dict[str, dg.MetadataValue] = dict(describe_report(landed.report))
    if landed.topic is not None and landed.topic.lag_seconds is not None:
        metadata["kafka/lag_seconds"] = _seconds(landed.topic.lag_seconds)
    if landed.columns:
        schema = dg.TableSchema([_describe_column(column) for column in landed.columns])
        metadata["dagster/column_schema"] = dg.MetadataValue.table_schema(schema)
    if landed.rows:
        metadata["kafka/preview"] = dg.MetadataValue.md(write_markdown(landed.rows))
    return metadata


def describe_topic(state: TopicState) -> MetadataMap:
    """Metadata of a topic as a load left it: numbers, for its plots."""
    metadata: dict[str, dg.MetadataValue] = {
        "kafka/partitions": dg.MetadataValue.int(state.partitions),
        "kafka/records": dg.MetadataValue.int(state.records),
        "kafka/end_offset": dg.MetadataValue.int(state.end_offset),
        "kafka/lag": dg.MetadataValue.int(state.readable),
        "kafka/blocked_records": dg.MetadataValue.int(state.blocked),
    }
    if state.lag_seconds is not None:
        metadata["kafka/lag_seconds"] = _seconds(state.lag_seconds)
    return metadata


def write_markdown(rows: Sequence[Mapping[str, str | None]]) -> str:
    """A Markdown table of rows; long values are cut, and many columns left out."""
    names = list(rows[0])[:_PREVIEW_COLUMNS]
    lines = [names, ["---"] * len(names)]
    lines += [[_cell(row[name]) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def describe_report(report: LoadReport) -> MetadataMap:
    """Metadata of a load: from the ledger, not from what the run meant to do."""
    counts = report.counts
    records = [_describe_partition(total) for total in report.partitions]
    # The UI shows and plots them in this order.
    metadata: dict[str, dg.MetadataValue] = {
        "dagster/table_name": dg.MetadataValue.text(report.table),
        "kafka/topic": dg.MetadataValue.text(report.topic),
        "kafka/outcome": dg.MetadataValue.text(report.outcome.value),
        "kafka/rows": dg.MetadataValue.int(counts.rows),
        "kafka/rows_per_second": dg.MetadataValue.float(round(report.rows_per_second, 1)),
        "kafka/dead_letters": dg.MetadataValue.int(counts.dead),
        "kafka/lag_before": dg.MetadataValue.int(report.lag_before),
        "kafka/lag_after": dg.MetadataValue.int(report.lag_after),
        "kafka/seconds": dg.MetadataValue.float(round(report.seconds, 3)),
        "kafka/bytes": dg.MetadataValue.int(report.record_bytes),
        "kafka/batches": dg.MetadataValue.int(report.batches),
        "kafka/superseded": dg.MetadataValue.int(counts.superseded),
        "kafka/ignored": dg.MetadataValue.int(counts.ignored),
        "kafka/deleted": dg.MetadataValue.int(counts.deleted),
        "kafka/filtered": dg.MetadataValue.int(counts.filtered),
        "kafka/untaken_fields": dg.MetadataValue.int(report.untaken_fields),
        "kafka/absent_offsets": dg.MetadataValue.int(counts.absent),
        "kafka/ranges": dg.MetadataValue.table(records, schema=_RANGES_SCHEMA),
    }
    if report.changes:
        changes = "\n".join(f"    {statement}" for statement in report.changes)
        metadata["kafka/schema_changes"] = dg.MetadataValue.md(changes)
    if report.pause is not None:
        metadata["kafka/pause"] = dg.MetadataValue.text(report.pause.tell(report.stream))
    if report.warnings:
        metadata["kafka/warnings"] = dg.MetadataValue.md("\n".join(report.warnings))
    return metadata


def describe_replay(report: ReplayReport) -> MetadataMap:
    """Metadata of a replay: what landed, and what stays by its reason."""
    records = [
        dg.TableRecord({"reason": reason, "dead letters": count})
        for reason, count in report.counts.rejected.items()
    ]
    schema = dg.TableSchema(
        [dg.TableColumn("reason", "string"), dg.TableColumn("dead letters", "int")]
    )
    return {
        "dagster/table_name": dg.MetadataValue.text(report.table),
        "kafka/topic": dg.MetadataValue.text(report.topic),
        "kafka/replayed": dg.MetadataValue.int(report.counts.replayed),
        "kafka/without_effect": dg.MetadataValue.int(report.counts.ignored),
        "kafka/still_rejected": dg.MetadataValue.int(report.counts.still_rejected),
        "kafka/rejected_by_reason": dg.MetadataValue.table(records, schema=schema),
    }


def _describe_column(column: Column) -> dg.TableColumn:
    constraints = dg.TableColumnConstraints(nullable=column.nullable)
    return dg.TableColumn(
        column.name,
        column.type_name,
        constraints=constraints,
        description=_describe_source(column),
    )


def _describe_source(column: Column) -> str | None:
    """What fills the column, where that is not the field of its name."""
    match column.source:
        case ValueField(name):
            return None if name == column.name else f"field `{name}`"
        case KeyField(name):
            return f"field `{name}` of the record's key"
        case Header(name):
            return f"header `{name}`"
        case Attribute(field):
            return f"the record's {field.value.replace('_', ' ')}"
        case Constant():
            return "the same in each row"
        case Rest():
            return "fields that no other column takes"
    return None


def _seconds(seconds: float) -> dg.MetadataValue:
    return dg.MetadataValue.float(round(seconds, 1))


def _cell(value: str | None) -> str:
    if value is None:
        return ""
    cut = value if len(value) <= _PREVIEW_CHARACTERS else value[: _PREVIEW_CHARACTERS - 1] + "…"
    return "".join(_ESCAPES.get(character, character) for character in cut)


def _describe_partition(total: PartitionTotals) -> dg.TableRecord:
    return dg.TableRecord(
        {
            "partition": total.offsets.partition,
            "from": total.offsets.start_offset,
            "to": total.offsets.end_offset,
            "offsets": len(total.offsets),
            "rows": total.counts.rows,
            "dead letters": total.counts.dead,
            "absent": total.counts.absent,
        }
    )


def _schema(*names: str) -> dg.TableSchema:
    return dg.TableSchema([dg.TableColumn(name, "int") for name in names])


_BOUNDS_SCHEMA = _schema("partition", "begin", "end", "high watermark")
_RANGES_SCHEMA = _schema("partition", "from", "to", "offsets", "rows", "dead letters", "absent")
