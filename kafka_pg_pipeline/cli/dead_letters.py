"""``kafka-pg dead-letters``: rejected records, looked at, replayed and discarded."""

from collections.abc import Mapping
from typing import Any

import click

from kafka_pg_pipeline.assembly.session import StreamSession
from kafka_pg_pipeline.cli.arguments import dry_run_option, stream_argument
from kafka_pg_pipeline.cli.configuration import open_pipeline
from kafka_pg_pipeline.cli.failures import FAILED, SUCCESS
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.letter_content import plain_letter, show_letter
from kafka_pg_pipeline.cli.letter_filters import all_option, filter_options, insist_on_choice
from kafka_pg_pipeline.cli.moves import opened_books
from kafka_pg_pipeline.cli.output import (
    count_of,
    format_bytes,
    print_json,
    print_line,
    print_table,
    to_plain,
)
from kafka_pg_pipeline.cli.streams import looking, new_run_id
from kafka_pg_pipeline.domain.letters import LetterFilter, LetterPage, ReplayReport
from kafka_pg_pipeline.errors import ConfigurationError

_LISTED = 50
_COUNT = click.IntRange(min=1)


@click.group(name="dead-letters", short_help="Rejected records: list, show, replay, discard.")
@shared_options
def dead_letters_command() -> None:
    """Operate on the records that could not become rows.

    Each is kept with its bytes and its reason. Mend the table or the mapping, then replay them.
    """


@dead_letters_command.command(name="list")
@stream_argument
@filter_options
@click.option("--resolved", is_flag=True, help="Those that were replayed or discarded instead.")
@click.option("--limit", type=_COUNT, default=_LISTED, show_default=True, help="Newest so many.")
@shared_options
@json_option
@click.pass_obj
def list_command(
    invocation: Invocation,
    stream: str,
    *,
    wanted: LetterFilter,
    resolved: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List dead letters, newest first, and their number by reason; never their content."""
    pipeline = open_pipeline(invocation)
    settings = pipeline.find(stream)
    with looking(pipeline, stream, settings) as session:
        page = _fetch_page(session, wanted, resolved=resolved, most=limit)
    if as_json:
        print_json(
            {
                "stream": stream,
                "topic": settings.topic,
                "resolved": resolved,
                "total": page.total,
                "by_reason": page.by_reason,
                "letters": page.letters,
            }
        )
        return
    _show_page(stream, page, resolved=resolved)


@dead_letters_command.command(name="show")
@stream_argument
@click.argument("letter_id", metavar="ID", type=_COUNT)
@shared_options
@json_option
@click.pass_obj
def show_command(invocation: Invocation, stream: str, letter_id: int, *, as_json: bool) -> None:
    """Show one dead letter with its record's content: key, value and headers."""
    pipeline = open_pipeline(invocation)
    settings = pipeline.find(stream)
    with looking(pipeline, stream, settings) as session:
        session.insist_on_current_tables()
        wanted = LetterFilter(ids=(letter_id,))
        found = session.letters.open_letters(wanted) if session.has_state else ()
    if not found:
        raise ConfigurationError(
            f"stream {stream!r} has no dead letter {letter_id}: "
            f"`kafka-pg dead-letters list {stream}` shows their ids"
        )
    if as_json:
        print_json(plain_letter(stream, settings.topic, found[0]))
    else:
        show_letter(settings.topic, found[0])


@dead_letters_command.command(name="replay")
@stream_argument
@filter_options
@all_option
@click.option("--limit", type=_COUNT, help="The oldest so many.")
@click.option(
    "--overwrite", is_flag=True, help="In upsert, even where a newer row could be overwritten."
)
@dry_run_option
@shared_options
@json_option
@click.pass_obj
def replay_command(
    invocation: Invocation,
    stream: str,
    *,
    wanted: LetterFilter,
    every: bool,
    limit: int | None,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Make rows of dead letters by the stream's present mapping, each exactly once.

    Those that still do not fit stay, with their reason of now: exit 1 then.
    """
    insist_on_choice(wanted, every=every)
    with opened_books(invocation, stream) as session:
        report = session.replay.replay(wanted, limit=limit, overwrite=overwrite, dry_run=dry_run)
    if as_json:
        print_json(_plain_report(report))
    else:
        _show_report(report)
    return FAILED if report.counts.still_rejected else SUCCESS


@dead_letters_command.command(name="discard")
@stream_argument
@filter_options
@all_option
@dry_run_option
@shared_options
@json_option
@click.pass_obj
def discard_command(
    invocation: Invocation,
    stream: str,
    *,
    wanted: LetterFilter,
    every: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Resolve dead letters without a row: they are kept, and no longer shown or replayed."""
    insist_on_choice(wanted, every=every)
    run_id = new_run_id()
    with opened_books(invocation, stream) as session:
        by_reason = session.letters.discard(wanted, run_id=run_id, rehearsal=dry_run)
    total = sum(by_reason.values())
    if as_json:
        print_json(
            {
                "stream": stream,
                "run_id": run_id,
                "dry_run": dry_run,
                "discarded": total,
                "by_reason": by_reason,
            }
        )
        return
    verb = "would be discarded" if dry_run else "discarded, with an audit row"
    print_line(f"{stream}: {count_of(total, 'dead letter')} {verb}")
    _show_reasons(by_reason)


def _fetch_page(
    session: StreamSession, wanted: LetterFilter, *, resolved: bool, most: int
) -> LetterPage:
    session.insist_on_current_tables()
    if not session.has_state:
        return LetterPage((), {})
    return session.letters.fetch_page(wanted, resolved=resolved, most=most)


def _show_page(stream: str, page: LetterPage, *, resolved: bool) -> None:
    kind = "resolved dead letter" if resolved else "dead letter"
    print_line(f"{stream}: {count_of(page.total, kind)}", style="bold")
    if not page.letters:
        return
    _show_reasons(page.by_reason)
    columns = ["id", "partition", "offset", "time", "stage", "reason", "column", "sqlstate"]
    columns += ["bytes", *(["resolution", "resolved", "by"] if resolved else [])]
    print_table(
        columns,
        [
            (
                str(letter.id),
                str(letter.partition),
                str(letter.offset),
                letter.stored_at,
                letter.stage,
                letter.reason,
                letter.column,
                letter.sqlstate,
                format_bytes(letter.record_bytes),
                *(
                    (letter.resolution, letter.resolved_at, letter.resolved_by)
                    if resolved and letter.resolution
                    else ()
                ),
            )
            for letter in page.letters
        ],
        numbers=("id", "partition", "offset", "bytes"),
    )
    if page.total > len(page.letters):
        print_line(f"the newest {len(page.letters):,} of {page.total:,}; --limit shows more")


def _show_reasons(by_reason: Mapping[str, int]) -> None:
    for reason, count in by_reason.items():
        print_line(f"  {count:>9,}  {reason}")


def _show_report(report: ReplayReport) -> None:
    counts = report.counts
    verb = "would be replayed" if report.dry_run else "replayed"
    print_line(
        f"{report.stream}: {count_of(counts.replayed, 'dead letter')} {verb} into {report.table}"
    )
    if counts.ignored:
        print_line(f"{count_of(counts.ignored, 'dead letter')} resolved without an effect")
    if counts.still_rejected:
        print_line(f"{count_of(counts.still_rejected, 'dead letter')} still rejected:")
        _show_reasons(counts.rejected)


def _plain_report(report: ReplayReport) -> Any:
    return {
        **{name: value for name, value in to_plain(report).items() if name != "counts"},
        "replayed": report.counts.replayed,
        "ignored": report.counts.ignored,
        "still_rejected": report.counts.still_rejected,
        "by_reason": report.counts.rejected,
    }
