"""How checks are shown: one line each as it comes, with its cure, or one JSON document."""

from collections.abc import Iterable

from rich.text import Text

from kafka_pg_pipeline.assembly.doctor import Check, Verdict
from kafka_pg_pipeline.cli.failures import FAILED, SUCCESS
from kafka_pg_pipeline.cli.output import make_console, print_json

_MARKS = {
    Verdict.OK: ("ok", "green"),
    Verdict.WARNING: ("warning", "yellow"),
    Verdict.FAILED: ("FAILED", "bold red"),
}


def finish_checks(checks: Iterable[Check], *, as_json: bool) -> int:
    """Show each check as it comes; the exit code tells whether one failed."""
    found: list[Check] = []
    for check in checks:
        found.append(check)
        if not as_json:
            _show(check)
    failed = any(check.verdict is Verdict.FAILED for check in found)
    if as_json:
        print_json({"ok": not failed, "checks": found})
    return FAILED if failed else SUCCESS


def _show(check: Check) -> None:
    mark, style = _MARKS[check.verdict]
    line = Text.assemble((f"{mark:<7}", style), "  ", (check.subject, "bold"), f": {check.finding}")
    console = make_console()
    console.print(line, soft_wrap=True)
    if check.cure:
        console.print(Text.assemble("         cure: ", check.cure), soft_wrap=True)
