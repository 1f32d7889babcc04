"""Options that say which dead letters are meant."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import click

from kafka_pg_pipeline.domain.letters import LetterFilter
from kafka_pg_pipeline.domain.records import Reason
from kafka_pg_pipeline.domain.written_times import parse_moment

F = TypeVar("F", bound=Callable[..., Any])

_NUMBER = click.IntRange(min=0)
_MOMENT = "as 2026-01-31T12:00:00Z"

_OPTIONS = (
    click.option(
        "--reason", type=click.Choice([reason.value for reason in Reason]), help="Of that reason."
    ),
    click.option("--since", metavar="TIME", help=f"Stored at or after a time, {_MOMENT}."),
    click.option("--until", metavar="TIME", help="Stored before a time."),
    click.option("--partition", type=_NUMBER, help="Of that partition."),
    click.option("--offset", type=_NUMBER, help="Of that offset."),
    click.option("--id", "ids", type=_NUMBER, multiple=True, help="Of that id; may be repeated."),
    click.option("--column", metavar="NAME", help="With that column, or constraint, to blame."),
)

all_option = click.option("--all", "every", is_flag=True, help="All that the stream has.")


def filter_options(command: F) -> F:
    """The options; the command gets what they say as ``wanted``."""

    @wraps(command)
    def filtered(*arguments: Any, **options: Any) -> Any:
        given = {name: options.pop(name) for name in _NAMES}
        return command(*arguments, wanted=build_filter(**given), **options)

    wrapped: Callable[..., Any] = filtered
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return cast("F", wrapped)


_NAMES = ("reason", "since", "until", "partition", "offset", "ids", "column")


def build_filter(
    *,
    reason: str | None,
    since: str | None,
    until: str | None,
    partition: int | None,
    offset: int | None,
    ids: tuple[int, ...],
    column: str | None,
) -> LetterFilter:
    """What the options mean together.

    Raises:
        ConfigurationError: a time is none, or has no zone.

    """
    return LetterFilter(
        ids=ids or None,
        reason=Reason(reason) if reason else None,
        since=parse_moment("--since", since) if since else None,
        until=parse_moment("--until", until) if until else None,
        partition=partition,
        offset=offset,
        column=column,
    )


def insist_on_choice(wanted: LetterFilter, *, every: bool) -> None:
    """Nobody means every letter by leaving an option out.

    Raises:
        click.UsageError: neither a filter nor ``--all`` is given, or both are.

    """
    if wanted.is_all and not every:
        raise click.UsageError("name the dead letters by a filter, or say --all")
    if every and not wanted.is_all:
        raise click.UsageError("--all and a filter contradict each other: give one of them")
