"""The table a stream fills: found in the catalog, or created from a sample of the records."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from kafka_pg_pipeline.domain.record_runs import ListedRecords
from kafka_pg_pipeline.domain.records import Record
from kafka_pg_pipeline.domain.tables import Column, TableName, TargetTable
from kafka_pg_pipeline.domain.windows import stream_of
from kafka_pg_pipeline.errors import TargetError
from kafka_pg_pipeline.pipeline.documents import (
    fetch_types,
    find_documents,
    read_values,
)
from kafka_pg_pipeline.pipeline.infer import infer_columns
from kafka_pg_pipeline.pipeline.mapping import FieldMapping
from kafka_pg_pipeline.pipeline.prepare import preparation_of
from kafka_pg_pipeline.ports import Decoders, TargetCatalog
from kafka_pg_pipeline.settings.models import StreamSettings


def propose_columns(
    stream: StreamSettings, sample: Sequence[Record], decoders: Decoders
) -> tuple[Column, ...]:
    """Columns for a table that does not exist yet.

    Raises:
        TargetError: no record of the sample could be read, or names collide.

    """
    said = read_values(ListedRecords(sample), decoders.value, preparation_of(stream))
    documents = find_documents(said)
    known = fetch_types(sample, decoders.value)
    columns = infer_columns(documents, FieldMapping.of(stream), known)
    names = {column.name for column in columns}
    if lacking := [name for name in stream.key if name not in names]:
        raise TargetError(
            f"table {stream.table} does not exist, and a new one would have no column "
            f"{', '.join(map(repr, lacking))} for the stream's `key`: the fields of the "
            f"{len(sample)} records looked at in {stream.topic} would become the columns "
            f"{', '.join(sorted(map(repr, names)))}"
        )
    if not any(column.is_from_value for column in columns):
        raise TargetError(
            f"table {stream.table} does not exist and its columns cannot be inferred: none of the "
            f"{len(sample)} records looked at in {stream.topic} can be read as an object. Create "
            "the table, or name its columns in the stream's `columns`"
        )
    return tuple(
        replace(column, nullable=False) if column.name in stream.key else column
        for column in columns
    )


def ensure_target(
    name: str,
    stream: StreamSettings,
    catalog: TargetCatalog,
    fetch_sample: Callable[[], Sequence[Record]],
    decoders: Decoders,
    *,
    was_loaded: bool,
) -> TargetTable:
    """The target table, created from a sample when it is missing.

    Raises:
        TargetError: the table is missing and may not be created (``create: false``, or rows were
            loaded into it before), or lacks a column that the stream names.

    """
    target = catalog.fetch_target()
    if target is not None:
        _check_columns(stream, target)
        return target
    if was_loaded:
        raise TargetError(describe_loss(name, stream))
    if not stream.create:
        raise TargetError(
            f"table {stream.table} does not exist and the stream says `create: false`: create it, "
            "or allow the pipeline to"
        )
    sample = fetch_sample()
    if not sample:
        # Aborted transactions and control records only: there are offsets to account for and no
        # row to write, so that a table without columns serves.
        return TargetTable(TableName.parse(stream.table), oid=0, columns=(), plain=True)
    return catalog.create_target(propose_columns(stream, sample, decoders))


def describe_loss(name: str, stream: StreamSettings) -> str:
    """What is wrong where a table is missing into which a stream, or a window, has loaded rows."""
    if stream_of(name) != name:
        return (
            f"table {stream.table} does not exist, though {name} was loaded into it: it was "
            "dropped or renamed. Nothing was loaded. Restore it; or the same `kafka-pg backfill` "
            "with --forget lets the window begin anew"
        )
    return (
        f"table {stream.table} does not exist, though rows were loaded: it was dropped or renamed, "
        "or `table` was changed in the file. Nothing was loaded. Restore it, or name the old one; "
        f"or `kafka-pg reset {name} --to earliest` loads what Kafka still has into a new one"
    )


def describe_foreign(name: str, stream: StreamSettings) -> str:
    """What is wrong where the first records have no field in common with the table."""
    return (
        f"no field of the first records of {stream.topic} has a column in {stream.table}, so that "
        "each would become a row of nothing: the topic and the table do not belong together. "
        f"Nothing was loaded; `kafka-pg plan {name}` names the fields, `kafka-pg peek {name}` "
        "shows records"
    )


def _check_columns(stream: StreamSettings, target: TargetTable) -> None:
    present = {column.name for column in target.columns}
    missing = [name for name in [*stream.rules, *stream.key] if name not in present]
    if missing:
        raise TargetError(
            f"table {target.name} has no column {', '.join(map(repr, missing))}, which the stream "
            "names under `columns`, `rest`, `metadata` or `key`: add it with ALTER TABLE, or take "
            "it out of the configuration file"
        )
    if stream.key and frozenset(stream.key) not in target.unique_keys:
        names = ", ".join(stream.key)
        raise TargetError(
            f"table {target.name} has no unique index on ({names}), the stream's `key`, by which "
            f"mode {stream.mode} tells rows apart: `CREATE UNIQUE INDEX ON {target.name} ({names})`"
            ", whole, not partial and not deferrable; or name the columns of one that it has"
        )
