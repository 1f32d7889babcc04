"""What every command shares: help, exit codes, the configuration file."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from kafka_pg_pipeline.cli.commands import ENTRIES
from kafka_pg_pipeline_tests.cli.conftest import CHECKOUT, CommandLine

STREAM = "{topic: a.topic, table: public.a_table}"


def test_help_lists_every_command_and_is_quick(command_line: CommandLine) -> None:
    command_line.run("--help")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    finished = command_line.run("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
    assert finished.code == 0
    for entry in ENTRIES:
        assert f"\n  {entry.name} " in finished.out


@pytest.mark.parametrize(
    ("arguments", "needless"),
    [
        (["--help"], {"kafka", "psycopg2", "pydantic", "dagster", "rich", "yaml"}),
        (["load", "--help"], {"requests", "confluent_kafka", "dagster", "psutil", "jgo"}),
    ],
)
def test_only_what_a_command_needs_is_imported(arguments: list[str], needless: set[str]) -> None:
    script = (
        f"import sys; from kafka_pg_pipeline.cli.main import run; run({arguments});"
        f"heavy = {needless} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ, capture_output=True)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_command_takes_the_shared_options(
    entry: object, capsys: pytest.CaptureFixture[str]
) -> None:
    command = entry.load()  # type: ignore[attr-defined]
    names = {name for parameter in command.params for name in parameter.opts}
    assert {"-c", "--config", "--debug", "-v"} <= names
    assert command.help


def test_no_arguments_show_the_help(command_line: CommandLine) -> None:
    finished = command_line.run()
    assert finished.code == 2
    assert "Commands:" in finished.err
    assert "error:" not in finished.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["loda"], "no such command 'loda'; did you mean load"),
        (["load", "--untl", "now"], "--untl"),
        (["load", "--until", "tomorrow"], "'now', 'forever'"),
        (["load", "--max-records", "0"], "--max-records"),
        (["load", "--lanes", "0"], "--lanes"),
        (["load", "--lanes", "2", "--max-records", "5"], "--lanes goes neither with --until"),
        (["peek"], "STREAM"),
        (["reset", "demo"], "--to"),
    ],
)
def test_bad_usage_is_one_message_and_exit_2(
    command_line: CommandLine, arguments: list[str], said: str
) -> None:
    finished = command_line.run(*arguments)
    assert (finished.code, finished.out) == (2, "")
    assert finished.err.startswith("error: ")
    assert said in finished.err


def test_unknown_stream_names_near_ones(command_line: CommandLine) -> None:
    command_line.write_file({"streams": {"orders": {"topic": "t", "table": "t"}}})
    finished = command_line.run(
        "load", "ordres", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", PGHOST="127.0.0.1"
    )
    assert finished.code == 2
    assert "no stream 'ordres'" in finished.err
    assert "did you mean 'orders'?" in finished.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("streams: {a: [unclosed", "pipeline.yaml:"),
        (f"streams:\n  a: {STREAM}\nkafak: {{}}", "pipeline.yaml:3: kafak"),
        (f"streams:\n  a: {STREAM[:-1]}, modus: append}}", "did you mean mode?"),
        (f"streams:\n  a: {STREAM[:-1]}, mode: replace}}", "allowed: 'append'"),
        ("streams:\n  a: {topic: t}", "streams.a.table"),
        (
            f"streams:\n  a: {STREAM}\npostgres: {{password: hunter2-in-clear}}",
            "secrets do not belong into the file",
        ),
    ],
)
def test_bad_file_is_named_with_line_and_key(
    command_line: CommandLine, text: str, said: str
) -> None:
    (command_line.directory / "pipeline.yaml").write_text(text)
    finished = command_line.run("status")
    assert (finished.code, finished.out) == (2, "")
    assert said in finished.err
    assert "hunter2" not in finished.err


def test_unreadable_file(command_line: CommandLine) -> None:
    (command_line.directory / "pipeline.yaml").write_bytes(b"\xff\xfe\x00")
    finished = command_line.run("status")
    assert finished.code == 2
    assert "pipeline.yaml" in finished.err


@pytest.mark.parametrize("where", ["option", "environment", "group"])
def test_named_file_that_is_missing(command_line: CommandLine, where: str) -> None:
    finished = {
        "option": lambda: command_line.run("status", "-c", "none.yaml"),
        "environment": lambda: command_line.run("status", KAFKA_PG_CONFIG="none.yaml"),
        "group": lambda: command_line.run("-c", "none.yaml", "status"),
    }[where]()
    assert finished.code == 2
    assert "none.yaml: there is no such file" in finished.err


def test_no_server_named_says_where_it_looked(command_line: CommandLine) -> None:
    command_line.write_file({"streams": {"a": {"topic": "t", "table": "t"}}})
    finished = command_line.run("load")
    assert finished.code == 2
    for name in ("kafka.bootstrap_servers", "KAFKA_BOOTSTRAP_SERVERS", "kafka-pg local up"):
        assert name in finished.err


def test_reader_that_went_away_is_no_traceback(command_line: CommandLine, tmp_path: Path) -> None:
    command = " ".join(command_line.command("--help"))
    finished = subprocess.run(
        ["sh", "-c", f"{command} | head -1"],
        env=command_line.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.stdout.startswith("Usage")
    assert "Traceback" not in finished.stderr


def test_every_command_is_documented() -> None:
    text = (CHECKOUT / "docs" / "cli.md").read_text()
    for entry in ENTRIES:
        assert (
            f"`{entry.name} " in text
            or f"kafka-pg {entry.name}" in text
            or f"`{entry.name}`" in text
        )
