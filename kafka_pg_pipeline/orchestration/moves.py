"""The operator's moves as jobs, for people without a shell: one job for each command.

Each rehearses unless its run configuration says ``dry_run: false``. None is retried: whether a
move whose answer was lost is still wanted, a person decides.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from kafka_pg_pipeline.adapters.postgres.moves import Move, PauseChange
from kafka_pg_pipeline.assembly import moves
from kafka_pg_pipeline.assembly.session import StreamSession, open_session
from kafka_pg_pipeline.domain.offsets import OffsetRange
from kafka_pg_pipeline.domain.pauses import Pause
from kafka_pg_pipeline.orchestration.failures import dagster_failures
from kafka_pg_pipeline.orchestration.streams import Streams, tag_run
from kafka_pg_pipeline.resources.aiven import AivenResource
from kafka_pg_pipeline.resources.build import find_endpoints
from kafka_pg_pipeline.resources.kafka import KafkaResource
from kafka_pg_pipeline.resources.postgres import PostgresResource

Config = Mapping[str, Any]
_REASON = dg.Field(str, description="why, for whoever reads it later")


@dataclass(frozen=True)
class _Done:
    """What a move changed, or would have: a table of before and after; no records, no change."""

    columns: Mapping[str, str]
    records: Sequence[Mapping[str, Any]]

    @property
    def table(self) -> dg.MetadataValue:
        schema = dg.TableSchema([dg.TableColumn(name, kind) for name, kind in self.columns.items()])
        return dg.MetadataValue.table(
            [dg.TableRecord(dict(record)) for record in self.records], schema=schema
        )


@dataclass(frozen=True)
class _MoveJob:
    """One job: its op, its configuration beside ``stream`` and ``dry_run``, and what it does.

    ``prefilled`` is what the launchpad shows to begin with.
    """

    name: str
    op: str
    description: str
    move: Callable[[StreamSession, Config], _Done]
    fields: Mapping[str, dg.Field] = field(default_factory=dict)
    prefilled: Config = field(default_factory=dict)


def build_move_jobs(streams: Streams) -> list[dg.JobDefinition]:
    """A job for each move; none where there is no stream to move."""
    if not streams.by_name:
        return []
    # Dagster keeps types by name for as long as the process lives: other streams, another name.
    mark = zlib.crc32(" ".join(streams.by_name).encode())
    names = dg.Enum(f"Stream_{mark:08x}", [dg.EnumValue(name) for name in streams.by_name])
    return [_build_job(job, streams, names) for job in _JOBS]


def _build_job(job: _MoveJob, streams: Streams, names: dg.Enum) -> dg.JobDefinition:
    @dg.op(
        name=job.op,
        out=dg.Out(dg.Nothing),
        description=job.description,
        config_schema={
            "stream": dg.Field(names, description="stream of the file"),
            "dry_run": dg.Field(
                bool, default_value=True, description="do everything and roll it back"
            ),
            **job.fields,
        },
    )
    def move(
        context: dg.OpExecutionContext,
        kafka: KafkaResource,
        postgres: PostgresResource,
        aiven: AivenResource,
    ) -> None:
        config: Config = context.op_config
        name, stream = streams.choose(config["stream"])
        tag_run(context, name)
        with dagster_failures(name, stream, may_retry=False):
            endpoints = find_endpoints(kafka, postgres, aiven)
            with open_session(name, stream, endpoints, run_id=context.run_id) as session:
                done = job.move(session, config)
        said = _summarise(job.name, name, done, dry_run=config["dry_run"])
        context.log.info(said)
        context.add_output_metadata(
            {
                "kafka/topic": stream.topic,
                "kafka/changed": bool(done.records) and not config["dry_run"],
                "kafka/result": said,
                "kafka/before_and_after": done.table,
            }
        )

    @dg.job(
        name=job.name,
        description=f"{job.description} A dry run unless `dry_run: false`.",
        executor_def=dg.in_process_executor,
        config={
            "ops": {
                job.op: {"config": {"stream": streams.default, **job.prefilled, "dry_run": True}}
            }
        },
    )
    def run_move() -> None:
        move()

    return run_move


def _summarise(job: str, stream: str, done: _Done, *, dry_run: bool) -> str:
    if not done.records:
        return f"{job} of {stream}: there was nothing to do, and nothing was changed"
    if dry_run:
        return f"{job} of {stream}: nothing was changed, this was a dry run; see before and after"
    return f"{job} of {stream}: done, with an audit row; loaders that run now will notice"


def _describe_moves(found: Sequence[Move]) -> _Done:
    names = ("partition", "position", "becomes", "rows deleted")
    return _Done(
        dict.fromkeys(names, "int"),
        [
            dict(zip(names, (m.partition, m.before, m.after, m.deleted_rows), strict=True))
            for m in found
        ],
    )


def _describe_pause(change: PauseChange) -> _Done:
    def word(pause: Pause | None) -> str:
        return "running" if pause is None else str(pause)

    record = {"before": word(change.before), "becomes": word(change.after)}
    return _Done(dict.fromkeys(record, "string"), [record] if change.is_change else [])


def _reset(session: StreamSession, config: Config) -> _Done:
    found = moves.reset(
        session,
        config["to"],
        allow_duplicates=config["allow_duplicates"],
        rehearsal=config["dry_run"],
    )
    return _describe_moves(found)


def _accept_gap(session: StreamSession, config: Config) -> _Done:
    return _describe_moves(moves.accept_gap(session, rehearsal=config["dry_run"]))


def _accept_topic(session: StreamSession, config: Config) -> _Done:
    found = moves.accept_topic(
        session, same_topic=config["same_topic"], rehearsal=config["dry_run"]
    )
    return _describe_moves(found)


def _skip_range(session: StreamSession, config: Config) -> _Done:
    skipped = OffsetRange(config["partition"], config["from"], config["to"])
    found = moves.skip_range(session, skipped, config["reason"], rehearsal=config["dry_run"])
    return _describe_moves(found)


def _pause(session: StreamSession, config: Config) -> _Done:
    return _describe_pause(moves.pause(session, config["reason"], rehearsal=config["dry_run"]))


def _resume(session: StreamSession, config: Config) -> _Done:
    return _describe_pause(moves.resume(session, rehearsal=config["dry_run"]))


_JOBS = (
    _MoveJob(
        "reset_stream",
        "reset",
        "Move a stream's position. Moving back deletes the rows of the range in the same "
        "transaction; moving forward skips records.",
        _reset,
        {
            "to": dg.Field(str, description=moves.DESTINATIONS),
            "allow_duplicates": dg.Field(
                bool,
                default_value=False,
                description="move back without deleting the rows of the range",
            ),
        },
        {"to": "", "allow_duplicates": False},
    ),
    _MoveJob(
        "accept_gap",
        "record_gap",
        "Record what retention removed before it was loaded as a gap, and go on after it.",
        _accept_gap,
    ),
    _MoveJob(
        "accept_topic",
        "start_topic",
        "Start the topic that has the stream's name now from its beginning; old rows stay.",
        _accept_topic,
        {
            "same_topic": dg.Field(
                bool,
                default_value=False,
                description="also where topic and cluster are the same, and the log was rewritten",
            )
        },
        {"same_topic": False},
    ),
    _MoveJob(
        "skip_range",
        "skip",
        "Record a range that no client can decode as a gap, and go on behind it. The run that "
        "stopped at it names the offsets.",
        _skip_range,
        {
            "partition": dg.Field(int, description="partition with the broken batch"),
            "from": dg.Field(int, description="first offset to skip: where the stream stands"),
            "to": dg.Field(int, description="first offset behind the batch"),
            "reason": _REASON,
        },
        {"partition": 0, "from": 0, "to": 0, "reason": ""},
    ),
    _MoveJob(
        "pause_stream",
        "pause",
        "Let no load and no backfill move a stream until it is resumed; replay of dead letters "
        "goes on.",
        _pause,
        {"reason": _REASON},
        {"reason": ""},
    ),
    _MoveJob(
        "resume_stream",
        "resume",
        "Let loads move a paused stream again, from where it stands.",
        _resume,
    ),
)
