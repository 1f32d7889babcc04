"""The list of commands: what ``kafka-pg --help`` shows, and where each one's code is found.

A command's module is imported when the command is called, so that the list itself costs nothing.
"""

import difflib
from dataclasses import dataclass
from importlib import import_module

import click


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: its name, its one line of help, and the module that defines it.

    The module's attribute is called like the command, with ``_command`` behind it.
    """

    name: str
    summary: str

    def load(self) -> click.Command:
        """Import the command's module."""
        word = self.name.replace("-", "_")
        module = import_module(f"kafka_pg_pipeline.cli.{word}")
        command = getattr(module, f"{word}_command")
        if not isinstance(command, click.Command):
            raise TypeError(f"{word}_command is not a click command")
        return command


ENTRIES = (
    Entry("demo", "From nothing to rows: local servers, events, the Dagster job, what landed."),
    Entry("dev", "The Dagster UI and daemon, with schedule and sensor ready."),
    Entry("local", "A real Kafka and a real PostgreSQL on this machine."),
    Entry("doctor", "Check configuration, Kafka, PostgreSQL, rights and clocks, each with a cure."),
    Entry("produce", "Put records on a stream's topic, acknowledged."),
    Entry("plan", "What the next run would read and change; changes nothing."),
    Entry("load", "Load what is new, each record exactly once."),
    Entry("status", "Position, end, lag, dead letters, gaps and the last batches."),
    Entry("lag", "Lag in records and seconds, and what an open transaction blocks."),
    Entry("peek", "Show records as they would land; changes nothing."),
    Entry("verify", "Check the delivery invariants; exit 1 when one is broken."),
    Entry("dead-letters", "Rejected records: list, show, replay exactly once, discard."),
    Entry("backfill", "Load a time that is past, apart from the live position, exactly once."),
    Entry("reset", "Move a stream's position: earliest, latest, offsets or a timestamp."),
    Entry("accept-gap", "Record what retention removed as a gap, and go on after it."),
    Entry("accept-topic", "Start the topic that has the stream's name now from its beginning."),
    Entry("skip-range", "Go on behind a batch that no client can decode, and record the gap."),
    Entry("pause", "Let no load move a stream until it is resumed."),
    Entry("resume", "Let loads move a paused stream again."),
    Entry("metrics", "Answer Prometheus' scrapes: lag, positions, dead letters, totals."),
    Entry("aiven", "The Aiven project and services that serve: check, services, env, provision."),
    Entry("purge", "Merge old ledger lines, remove dead letters resolved long ago."),
)


class CommandList(click.Group):
    """The group of all commands, each imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names in the order of a user's first hour."""
        return [entry.name for entry in ENTRIES]

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import the command's module; None where there is no such command."""
        entry = next((entry for entry in ENTRIES if entry.name == cmd_name), None)
        return None if entry is None else entry.load()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with near names where there is no such command."""
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"no such command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the list from the entries alone; nothing is imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(entry.name, entry.summary) for entry in ENTRIES])
