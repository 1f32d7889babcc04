"""``kafka-pg verify``: the delivery invariants, as SQL."""

from dataclasses import dataclass
from typing import Any

import click

from kafka_pg_pipeline.assembly.session import StreamSession
from kafka_pg_pipeline.assembly.verification import verify_stream
from kafka_pg_pipeline.cli.arguments import streams_argument
from kafka_pg_pipeline.cli.configuration import open_pipeline
from kafka_pg_pipeline.cli.failures import FAILED
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.output import count_of, print_line, print_table, to_plain
from kafka_pg_pipeline.cli.streams import show_each
from kafka_pg_pipeline.domain.findings import Verification


@dataclass(frozen=True)
class _Verified:
    stream: str
    verification: Verification


@click.command(name="verify")
@streams_argument
@shared_options
@json_option
@click.pass_obj
def verify_command(invocation: Invocation, streams: tuple[str, ...], *, as_json: bool) -> int:
    """Check the delivery invariants of what was loaded; exit 1 when one is broken.

    No gap, no overlap, nothing twice, every offset accounted for. What needs the partition and
    offset columns of the table is left out, by name, where it has none.
    """
    broken: list[_Verified] = []

    def plain(verified: _Verified) -> Any:
        if verified.verification.findings:
            broken.append(verified)
        return {
            "stream": verified.stream,
            "ok": not verified.verification.findings,
            **to_plain(verified.verification),
        }

    code = show_each(
        invocation,
        open_pipeline(invocation),
        streams,
        fetch=_verify,
        show=_show,
        plain=plain,
        as_json=as_json,
    )
    return code or (FAILED if broken else code)


def _verify(session: StreamSession) -> _Verified:
    if not session.has_state:
        return _Verified(session.name, Verification((), (), ()))
    session.insist_on_current_tables()
    return _Verified(session.name, verify_stream(session))


def _show(verified: _Verified) -> None:
    found = verified.verification
    if not found.checked:
        print_line(f"{verified.stream}: nothing was loaded yet")
        return
    if found.findings:
        print_line(
            f"{verified.stream}: BROKEN, {count_of(len(found.findings), 'finding')}",
            style="bold red",
        )
        print_table(
            ("invariant", "where", "finding"),
            [
                (f.invariant, f"{f.topic}[{f.partition}]@{f.offset}", f.description)
                for f in found.findings
            ],
            fold=("finding",),
        )
    else:
        print_line(f"{verified.stream}: ok, {count_of(len(found.checked), 'invariant')} hold")
    if found.unchecked:
        print_line(
            f"not checked, the table's rows do not tell: {', '.join(found.unchecked)}",
            style="yellow",
        )
