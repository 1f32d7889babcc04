"""Asset checks of the streams' tables, and the jobs ``check_streams`` and ``check_tables``.

A check that fails fails no run. What could not be looked at is a failed check too, so that it is
seen which stream it is; the run fails only where no stream could be looked at.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from kafka_pg_pipeline.assembly.checks import Examiner, list_checks
from kafka_pg_pipeline.domain.checks import Check, CheckVerdict, Severity
from kafka_pg_pipeline.orchestration.asset_keys import table_key
from kafka_pg_pipeline.orchestration.failures import dagster_failures, tell_reasons
from kafka_pg_pipeline.orchestration.streams import JOB_TAG, Streams
from kafka_pg_pipeline.resources.aiven import AivenResource
from kafka_pg_pipeline.resources.build import find_endpoints
from kafka_pg_pipeline.resources.kafka import KafkaResource
from kafka_pg_pipeline.resources.postgres import PostgresResource

_MAX_RUNTIME_SECONDS = "3600"
_DESCRIPTIONS: Mapping[Check, str] = {
    Check.NO_GAP: "No record was gone from the topic before it was loaded.",
    Check.TILING: "The ledger's intervals follow each other, without a hole or an overlap, and "
    "end where the stream stands.",
    Check.COMPLETENESS: "Every offset that was passed is a row, a dead letter, or counted as "
    "filtered or absent.",
    Check.LAG: "Few enough records wait to be loaded: `checks.lag_records`.",
    Check.FRESHNESS: "No record waits for too long: `checks.lag_seconds`. A quiet topic is fresh.",
    Check.DEAD_LETTER_SHARE: "Few enough records of the last 24 hours are unresolved dead letters: "
    "`checks.dead_letter_share`.",
    Check.TABLE_MATCHES_LEDGER: "The table has the rows that the ledger counts, each once. Reads "
    "the whole table.",
}
_FINDINGS = dg.TableSchema(
    [
        dg.TableColumn("invariant", "string"),
        dg.TableColumn("where", "string"),
        dg.TableColumn("finding", "string"),
    ]
)
_MOST_FINDINGS = 20


@dataclass(frozen=True)
class _CheckJob:
    """One job: its op, and which checks of each stream it runs."""

    name: str
    op: str
    description: str
    runs: Callable[[Check], bool]


CHECK_STREAMS, CHECK_TABLES = CHECK_JOBS = ("check_streams", "check_tables")
_JOBS = (
    _CheckJob(
        CHECK_STREAMS,
        "look_at_streams",
        "Look at all streams: gaps, ledger, lag, freshness, dead letters. Reads the ledger, and of "
        "each partition that lags one record; changes nothing.",
        lambda check: check is not Check.TABLE_MATCHES_LEDGER,
    ),
    _CheckJob(
        CHECK_TABLES,
        "count_tables",
        "Compare all rows of the tables with the ledger. Takes as long as reading them; changes "
        "nothing.",
        lambda check: check is Check.TABLE_MATCHES_LEDGER,
    ),
)


@dataclass(frozen=True)
class ChecksOfStreams:
    """What Dagster gets: the checks, and the jobs by their names."""

    definitions: Sequence[dg.AssetChecksDefinition]
    jobs: Mapping[str, "dg.UnresolvedAssetJobDefinition"]


def build_checks(streams: Streams) -> ChecksOfStreams:
    """The checks of all streams; a job that would have none does not exist."""
    definitions, jobs = [], {}
    for job in _JOBS:
        specs = _build_specs(job, streams)
        if specs:
            checks = _build_checks(job, streams, specs)
            definitions.append(checks)
            jobs[job.name] = dg.define_asset_job(
                name=job.name,
                selection=dg.AssetSelection.checks(checks),
                description=job.description,
                executor_def=dg.in_process_executor,
                tags={JOB_TAG: job.name, "dagster/max_runtime": _MAX_RUNTIME_SECONDS},
            )
    return ChecksOfStreams(definitions, jobs)


def _build_specs(job: _CheckJob, streams: Streams) -> dict[str, dg.AssetCheckSpec]:
    """The checks that a job runs, by a name that no other check has."""
    return {
        f"{name}__{check.value}": dg.AssetCheckSpec(
            check.value, asset=table_key(stream), description=_DESCRIPTIONS[check]
        )
        for name, stream in streams.by_name.items()
        for check in list_checks(stream)
        if job.runs(check)
    }


def _build_checks(
    job: _CheckJob, streams: Streams, specs: Mapping[str, dg.AssetCheckSpec]
) -> dg.AssetChecksDefinition:
    @dg.op(
        name=job.op,
        description=job.description,
        ins={name: dg.In(dg.Nothing) for name in streams.by_name},
        out={name: dg.Out(is_required=False) for name in specs},
    )
    def checks(
        context: dg.OpExecutionContext,
        kafka: KafkaResource,
        postgres: PostgresResource,
        aiven: AivenResource,
    ) -> Iterator[dg.AssetCheckResult]:
        # Runs that somebody launches on the checks themselves come without it.
        if JOB_TAG not in context.run.tags:
            context.instance.add_run_tags(context.run_id, {JOB_TAG: job.name})
        with dagster_failures(None):
            endpoints = find_endpoints(kafka, postgres, aiven)
        wanted = _group(context.selected_asset_check_keys)
        examiner = Examiner(endpoints, run_id=context.run_id)
        unseen: dict[str, str] = {}
        for name, stream in streams.by_name.items():
            key = table_key(stream)
            for verdict in examiner.examine(name, stream, wanted.get(key, ())):
                if not verdict.seen:
                    unseen[name] = verdict.text
                yield build_result(key, verdict)
        if len(unseen) == len(wanted):
            raise _failure(unseen)

    # Not @multi_asset_check: that derives names from the tables', which may hold any character,
    # and two of which may become the same.
    created: dg.AssetChecksDefinition = dg.AssetChecksDefinition.create(
        node_def=checks,
        keys_by_input_name={name: table_key(s) for name, s in streams.by_name.items()},
        check_specs_by_output_name=specs,
        can_subset=True,
    )
    return created


def _group(
    keys: Iterable[dg.AssetCheckKey],
) -> dict[dg.AssetKey, tuple[Check, ...]]:
    """The checks that are asked for, by the asset of their table."""
    grouped: dict[dg.AssetKey, tuple[Check, ...]] = {}
    for key in keys:
        grouped[key.asset_key] = (*grouped.get(key.asset_key, ()), Check(key.name))
    return grouped


def build_result(key: dg.AssetKey, verdict: CheckVerdict) -> dg.AssetCheckResult:
    """A verdict as Dagster shows it: numbers as numbers, so that they are plotted over time."""
    metadata: dict[str, Any] = dict(verdict.numbers)
    if verdict.cure is not None:
        metadata["kafka/cure"] = verdict.cure
    if verdict.findings:
        records = [
            dg.TableRecord(
                {
                    "invariant": found.invariant,
                    "where": f"{found.topic}[{found.partition}]@{found.offset}",
                    "finding": found.description,
                }
            )
            for found in verdict.findings[:_MOST_FINDINGS]
        ]
        metadata["kafka/found"] = dg.MetadataValue.table(records, schema=_FINDINGS)
    is_warning = verdict.severity is Severity.WARN
    return dg.AssetCheckResult(
        passed=verdict.passed,
        asset_key=key,
        check_name=verdict.check.value,
        severity=dg.AssetCheckSeverity.WARN if is_warning else dg.AssetCheckSeverity.ERROR,
        description=verdict.text,
        metadata=metadata,
    )


def _failure(unseen: Mapping[str, str]) -> dg.Failure:
    said = tell_reasons(unseen)
    return dg.Failure(f"no stream could be looked at.\n{said}", allow_retries=False)
