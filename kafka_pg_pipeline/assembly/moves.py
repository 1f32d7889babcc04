"""Operator moves as somebody asks for them: their words checked against the log, then carried out.

The command line and Dagster's jobs share them. Each is one transaction with an audit row and
``epoch + 1``; a rehearsal does all of it and rolls it back.
"""

from collections.abc import Mapping

from kafka_pg_pipeline.adapters.postgres.moves import Move, PauseChange
from kafka_pg_pipeline.assembly.overview import is_same_topic
from kafka_pg_pipeline.assembly.session import StreamSession
from kafka_pg_pipeline.domain.offsets import OffsetRange, TopicSnapshot
from kafka_pg_pipeline.domain.written_times import parse_moment
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.pipeline.plan import freeze_plan

DESTINATIONS = (
    "earliest, latest, an offset for all partitions (1200), offsets (0=100,1=200), or a time with "
    "its zone (2026-01-31T12:00:00Z)"
)


def reset(
    session: StreamSession, destination: str, *, allow_duplicates: bool, rehearsal: bool
) -> tuple[Move, ...]:
    """Move the stream to a destination, one of ``DESTINATIONS``.

    Raises:
        ConfigurationError: it cannot be understood, lies outside the log, or would load rows
            twice; see ``OperatorMoves.reset``.

    """
    return session.moves.reset(
        resolve_destination(session, _look(session), destination),
        session.catalog.fetch_target(),
        allow_duplicates=allow_duplicates,
        rehearsal=rehearsal,
    )


def accept_gap(session: StreamSession, *, rehearsal: bool) -> tuple[Move, ...]:
    """Record what retention removed as gaps, and go on behind them; empty where nothing is lost."""
    gaps = session.moves.accept_gaps(_look(session), rehearsal=rehearsal)
    return tuple(Move(gap.partition, gap.start_offset, gap.end_offset) for gap in gaps)


def accept_topic(session: StreamSession, *, same_topic: bool, rehearsal: bool) -> tuple[Move, ...]:
    """Start the topic that has this name now from its beginning.

    Raises:
        ConfigurationError: it is the one that was loaded before, and ``same_topic`` is not given.

    """
    snapshot = _look(session)
    if is_same_topic(session, snapshot) and not same_topic:
        raise ConfigurationError(
            f"{snapshot.topic} is the topic that was loaded before: there is nothing to accept, "
            "and its rows would be loaded again. Where its log was rewritten, say --same-topic "
            "(`same_topic: true` in Dagster)"
        )
    return session.moves.accept_topic(snapshot, rehearsal=rehearsal)


def skip_range(
    session: StreamSession, skipped: OffsetRange, reason: str, *, rehearsal: bool
) -> tuple[Move, ...]:
    """Record a range that no client can decode as a gap, and go on behind it.

    Raises:
        ConfigurationError: the range does not begin where the stream stands, is empty, or ends
            outside the log.

    """
    _insist_on_words(reason)
    snapshot = _look(session)
    bounds = snapshot.bounds(skipped.partition)
    where = f"{snapshot.topic}[{skipped.partition}]"
    if bounds is None:
        raise ConfigurationError(f"{snapshot.topic} has no partition {skipped.partition}")
    if skipped.end_offset <= skipped.start_offset:
        raise ConfigurationError(
            f"the range to skip ends at {skipped.end_offset}, which is not behind its first "
            f"offset {skipped.start_offset}"
        )
    if skipped.end_offset > bounds.high_watermark:
        raise ConfigurationError(
            f"{where} ends at offset {bounds.high_watermark}: {skipped.end_offset} is outside the "
            "log"
        )
    return session.moves.skip_range(skipped, reason, rehearsal=rehearsal)


def pause(session: StreamSession, reason: str, *, rehearsal: bool) -> PauseChange:
    """Let no load move the stream until it is resumed; one that runs ends without its next batch.

    Raises:
        ConfigurationError: no reason is given.

    """
    _insist_on_words(reason)
    return session.moves.pause(reason.strip(), rehearsal=rehearsal)


def resume(session: StreamSession, *, rehearsal: bool) -> PauseChange:
    """Let loads move the stream again."""
    return session.moves.resume(rehearsal=rehearsal)


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
        moment = parse_moment("to", destination, otherwise=f"none of {DESTINATIONS}")
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
            raise ConfigurationError(f"to: {piece.strip()!r} is not partition=offset")
        if int(number) in offsets:
            raise ConfigurationError(f"to: partition {number} is named twice")
        offsets[int(number)] = int(offset)
    return offsets


def _check_offset(snapshot: TopicSnapshot, number: int, offset: int) -> None:
    bounds = snapshot.bounds(number)
    if bounds is None:
        raise ConfigurationError(f"to: {snapshot.topic} has no partition {number}")
    if not bounds.begin_offset <= offset <= bounds.end_offset:
        raise ConfigurationError(
            f"to: {snapshot.topic}[{number}]@{offset} is outside the log, which reaches from "
            f"{bounds.begin_offset} to {bounds.end_offset}"
        )


def _insist_on_words(reason: str) -> None:
    if not reason.strip():
        raise ConfigurationError("the reason is empty: say why, for whoever reads it later")


def _look(session: StreamSession) -> TopicSnapshot:
    return freeze_plan(session.name, session.stream, session.inspector).snapshot
