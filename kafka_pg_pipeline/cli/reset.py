"""``kafka-pg reset``: moves a stream's position, in one transaction with an audit row."""

from collections.abc import Mapping

import click

from kafka_pg_pipeline.assembly.session import StreamSession
from kafka_pg_pipeline.cli.arguments import dry_run_option, stream_argument
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.moves import opened_stream, show_moves
from kafka_pg_pipeline.domain.offsets import TopicSnapshot
from kafka_pg_pipeline.domain.written_times import parse_moment
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.pipeline.plan import freeze_plan

_FORMS = (
    "earliest, latest, an offset for all partitions (1200), offsets (0=100,1=200), or a time with "
    "its zone (2026-01-31T12:00:00Z)"
)


@click.command(name="reset")
@stream_argument
@click.option("--to", "destination", required=True, metavar="WHERE", help=_FORMS + ".")
@dry_run_option
@click.option(
    "--allow-duplicates",
    is_flag=True,
    help="Move back without deleting the rows of the range: they will be there twice.",
)
@shared_options
@json_option
@click.pass_obj
def reset_command(
    invocation: Invocation,
    stream: str,
    destination: str,
    *,
    dry_run: bool,
    allow_duplicates: bool,
    as_json: bool,
) -> None:
    """Move a stream's position.

    Moving back deletes the rows and dead letters of the range in the same transaction, so that
    they are not loaded twice; that needs the partition and offset columns in the table. Moving
    forward skips records.
    """
    with opened_stream(invocation, stream) as session:
        snapshot = freeze_plan(session.name, session.stream, session.inspector).snapshot
        moves = session.moves.reset(
            resolve_destination(session, snapshot, destination),
            session.catalog.fetch_target(),
            allow_duplicates=allow_duplicates,
            rehearsal=dry_run,
        )
        show_moves(session, f"reset {stream}", moves, dry_run=dry_run, as_json=as_json)


def resolve_destination(
    session: StreamSession, snapshot: TopicSnapshot, destination: str
) -> Mapping[int, int]:
    """Partition → next offset, for the partitions that the destination names.

    Raises:
        ConfigurationError: it cannot be understood, or lies outside the log.

    """
    known = {position.partition for position in session.positions.fetch_positions()}
    if not known:
        raise ConfigurationError(
            f"stream {session.name!r} has no position yet: its first load starts where `start` in "
            "the file says"
        )
    bounds = {b.partition: b for b in snapshot.partitions if b.partition in known}
    if destination == "earliest":
        return {number: b.begin_offset for number, b in bounds.items()}
    if destination == "latest":
        return {number: b.end_offset for number, b in bounds.items()}
    offsets = parse_offsets(destination, list(bounds))
    if offsets is None:
        moment = parse_moment("--to", destination, otherwise=f"none of {_FORMS}")
        found = session.inspector.fetch_offsets_at(snapshot.topic, round(moment.timestamp() * 1000))
        return {
            number: max(b.begin_offset, min(found[number], b.end_offset))
            for number, b in bounds.items()
        }
    for number, offset in offsets.items():
        _check_offset(snapshot, number, offset)
    return offsets


def parse_offsets(text: str, partitions: list[int]) -> Mapping[int, int] | None:
    """``1200`` or ``0=100,1=200``; None where the text is something else.

    Raises:
        ConfigurationError: it looks like offsets and is none.

    """
    if text.isdecimal():
        return dict.fromkeys(partitions, int(text))
    if "=" not in text:
        return None
    offsets: dict[int, int] = {}
    for piece in text.split(","):
        number, _, offset = piece.strip().partition("=")
        if not (number.isdecimal() and offset.isdecimal()):
            raise ConfigurationError(f"--to: {piece.strip()!r} is not partition=offset")
        if int(number) in offsets:
            raise ConfigurationError(f"--to: partition {number} is named twice")
        offsets[int(number)] = int(offset)
    return offsets


def _check_offset(snapshot: TopicSnapshot, number: int, offset: int) -> None:
    bounds = snapshot.bounds(number)
    if bounds is None:
        raise ConfigurationError(f"--to: {snapshot.topic} has no partition {number}")
    if not bounds.begin_offset <= offset <= bounds.end_offset:
        raise ConfigurationError(
            f"--to: {snapshot.topic}[{number}]@{offset} is outside the log, which reaches from "
            f"{bounds.begin_offset} to {bounds.end_offset}"
        )
