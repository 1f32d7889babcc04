"""``kafka-pg purge``: what has outlived its retention leaves the pipeline's own tables."""

import click

from kafka_pg_pipeline.assembly.purge import choose_streams, open_purge, purge_stream
from kafka_pg_pipeline.cli.arguments import dry_run_option, streams_argument
from kafka_pg_pipeline.cli.configuration import open_pipeline
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.output import count_of, print_json, print_line, to_plain
from kafka_pg_pipeline.domain.purging import PurgeReport


@click.command(name="purge")
@streams_argument
@dry_run_option
@shared_options
@json_option
@click.pass_obj
def purge_command(
    invocation: Invocation, streams: tuple[str, ...], *, dry_run: bool, as_json: bool
) -> None:
    """Merge old ledger lines and remove dead letters that were resolved long ago.

    How old is said by `retention` in the file. Lines that follow each other become one with the
    same counts: what was loaded is known for ever. Unresolved dead letters always stay.
    """
    pipeline = open_pipeline(invocation)
    settings = pipeline.loaded.settings
    with open_purge(pipeline.endpoints, settings.retention) as purge:
        names = choose_streams(purge, tuple(settings.streams), streams)
        reports = []
        for name in names:
            reports.append(purge_stream(purge, name, dry_run=dry_run))
            if not as_json:
                _show(reports[-1], dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "streams": to_plain(reports)})


def _show(report: PurgeReport, *, dry_run: bool) -> None:
    text = (
        f"{report.stream}: {count_of(report.merged_lines, 'ledger line')} merged into others, "
        f"{count_of(report.removed_letters, 'resolved dead letter')} removed"
    )
    print_line(f"{text}; nothing was changed, this was a dry run" if dry_run else text)
