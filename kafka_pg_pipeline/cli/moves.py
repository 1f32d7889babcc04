"""What the operator moves share: the session, and how moved positions are shown."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kafka_pg_pipeline.adapters.postgres.moves import Move, PauseChange
from kafka_pg_pipeline.assembly.session import StreamSession, open_session
from kafka_pg_pipeline.cli.configuration import open_pipeline
from kafka_pg_pipeline.cli.invocation import Invocation
from kafka_pg_pipeline.cli.output import print_json, print_line, print_table, to_plain
from kafka_pg_pipeline.cli.streams import new_run_id


@contextmanager
def opened_stream(invocation: Invocation, name: str) -> Iterator[StreamSession]:
    """A session that may move the positions of one stream."""
    pipeline = open_pipeline(invocation)
    stream = pipeline.select([name])[name]
    with open_session(name, stream, pipeline.endpoints, run_id=new_run_id()) as session:
        yield session


@contextmanager
def opened_books(invocation: Invocation, name: str) -> Iterator[StreamSession]:
    """As ``opened_stream``; the name may also be that of a stream's window."""
    pipeline = open_pipeline(invocation)
    stream = pipeline.find(name)
    with open_session(name, stream, pipeline.endpoints, run_id=new_run_id()) as session:
        yield session


def show_moves(
    session: StreamSession, action: str, moves: Sequence[Move], *, dry_run: bool, as_json: bool
) -> None:
    """Positions before and after; JSON for machines."""
    if as_json:
        print_json(plain_moves(session, action, moves, dry_run=dry_run))
        return
    columns = ("partition", "position", "becomes", "offsets", "rows deleted")
    print_table(
        columns,
        [
            (
                str(move.partition),
                move.before,
                move.after,
                None if move.before is None else f"{move.after - move.before:+,}",
                move.deleted_rows,
            )
            for move in moves
        ],
        numbers=columns,
    )
    _tell_end(action, dry_run=dry_run)


def show_pause_change(
    session: StreamSession, action: str, change: PauseChange, *, dry_run: bool, as_json: bool
) -> None:
    """Whether the stream is paused, before and after; JSON for machines."""
    if as_json:
        print_json(
            {
                "stream": session.name,
                "action": action,
                "dry_run": dry_run,
                "changed": change.is_change and not dry_run,
                "before": to_plain(change.before),
                "after": to_plain(change.after),
            }
        )
        return
    print_table(
        ("stream", "before", "becomes"),
        [(session.name, change.before or "running", change.after or "running")],
        fold=("before", "becomes"),
    )
    _tell_end(f"{action} {session.name}", dry_run=dry_run)


def _tell_end(action: str, *, dry_run: bool) -> None:
    print_line(
        f"{action}: nothing was changed, this was a dry run"
        if dry_run
        else f"{action}: done, with an audit row; loaders that run now will notice"
    )


def plain_moves(
    session: StreamSession, action: str, moves: Sequence[Move], *, dry_run: bool
) -> Any:
    """The moves for JSON."""
    return {
        "stream": session.name,
        "action": action,
        "dry_run": dry_run,
        "moves": to_plain(list(moves)),
    }
