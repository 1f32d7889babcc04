"""Every command that the documents show is run as it stands there, in a checkout of its own."""

import os
import re
import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from psycopg2 import sql

from kafka_pg_pipeline.adapters.kafka.producer import produce_values
from kafka_pg_pipeline.cli.commands import ENTRIES
from kafka_pg_pipeline.settings.models import KafkaSettings, PostgresSettings
from kafka_pg_pipeline_tests.docs.blocks import (
    DOCUMENTS,
    ROOT,
    read_blocks,
    read_code_in_text,
    read_commands,
)
from kafka_pg_pipeline_tests.fix_registry import RegistryServer
from kafka_pg_pipeline_tests.fix_servers import connect
from kafka_pg_pipeline_tests.fix_streams import BenchMaker
from kafka_pg_pipeline_tests.fix_tls_servers import AivenAccount
from kafka_pg_pipeline_tests.waiting import wait_until

# What does not end by itself, and what it says when it is ready.
ENDLESS = {"kafka-pg dev": "the Dagster UI: http", "kafka-pg metrics": "metrics: http"}
# What is run elsewhere, and where.
ELSEWHERE = {
    "make test": "this very run: .ci/run calls it",
    "make lint": "the first step of make test",
    "pip install 'kafka-pg-pipeline[metrics]'": "the extra is among those of the tests",
    "python tools/mutations.py": "a quarter of an hour, by hand",
    "python tools/lock_connect.py": "asks the registry for versions, by hand",
    "python tools/sample_debezium.py": "writes what tests read, by hand",
}
# SQL that is run elsewhere, and where.
SQL_ELSEWHERE = {"security.md": "test_security.py"}


def without_comment(command: str) -> str:
    return command.partition(" #")[0].strip()


@dataclass
class Shell:
    """A directory that looks like the checkout, and the environment of somebody in it."""

    directory: Path
    environment: dict[str, str]
    postgres: PostgresSettings
    exports: str = ""

    def execute(self, statements: str) -> None:
        """Run SQL in the reader's database."""
        with closing(connect(self.postgres)) as connection, connection.cursor() as cursor:
            cursor.execute(statements)

    def run(self, command: str) -> str:
        """Run a command until it ends or is ready; what it said."""
        plain = without_comment(command)
        if plain.startswith("export "):
            self.exports += f"{plain}\n"
        elif plain in ENDLESS:
            return self._run_until_ready(plain, ENDLESS[plain])
        else:
            done = subprocess.run(
                ["bash", "-c", self.exports + command],
                cwd=self.directory,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=240,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}"
            return done.stdout
        return ""

    def _run_until_ready(self, command: str, said: str) -> str:
        log = self.directory / "endless.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"{self.exports}exec {command}"],
                cwd=self.directory,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                wait_until(lambda: said in log.read_text() or process.poll() is not None, 90)
                assert process.poll() is None, log.read_text()[-3000:]
            finally:
                os.killpg(process.pid, signal.SIGINT)
                process.wait(60)
        return log.read_text()


@pytest.fixture(scope="session")
def orders(kafka: KafkaSettings, postgres: PostgresSettings) -> None:
    """The topic that the documents speak of."""
    maker = BenchMaker()
    bench = maker.make(kafka, postgres, topic="shop.orders")
    bench.create_topic()
    bench.produce([{"id": n, "ts": "2026-01-31T12:00:00Z", "price": "9.90"} for n in range(30)])
    maker.clean_up()


@pytest.fixture
def shell(
    kafka: KafkaSettings,
    postgres: PostgresSettings,
    registry: RegistryServer,
    orders: None,
    tmp_path: Path,
) -> Iterator[Shell]:
    """A reader's shell: a copy of the checkout, the session's Kafka, a database of its own."""
    directory = tmp_path / "checkout"
    copy_checkout(directory)
    database = sql.Identifier(f"docs_{uuid.uuid4().hex[:12]}")
    with closing(connect(postgres)) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE DATABASE {}").format(database))
        try:
            postgres = postgres.model_copy(update={"dbname": database.string})
            environment = build_environment(kafka, postgres)
            environment["SCHEMA_REGISTRY_URL"] = registry.url
            yield Shell(directory, environment, postgres)
        finally:
            cursor.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


@pytest.fixture
def aiven_reader(aiven_account: AivenAccount) -> dict[str, str]:
    """What somebody has exported whose project is the one in aiven.md, with its topic and users."""
    account = aiven_account
    account.kafka.create_topic("shop.orders", 3)
    produce_values(account.kafka.plain, "shop.orders", [(None, b'{"id": 1}')])
    for service in account.api.services.values():
        service["users"].append({**service["users"][-1], "username": "loader"})
    return account.api.environment


def copy_checkout(directory: Path) -> None:
    """Links to everything, and the environment of the tests as the one that make made."""
    directory.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in (".git", ".local", ".venv", "pipeline.yaml"):
            (directory / entry.name).symlink_to(entry)
    environment = directory / ".venv"
    environment.mkdir()
    (environment / "bin").symlink_to(Path(sys.executable).parent)
    (environment / "installed").touch()


def build_environment(kafka: KafkaSettings, postgres: PostgresSettings) -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        "LANG": "C.UTF-8",
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "PGHOST": postgres.host,
        "PGPORT": str(postgres.port),
        "PGUSER": postgres.user,
        "PGPASSWORD": postgres.password.get_secret_value() if postgres.password else "",
        "PGDATABASE": postgres.dbname,
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "document", [*filter(read_commands, DOCUMENTS)], ids=lambda path: path.name
)
def test_the_commands_of_a_document_work_in_their_order(
    document: Path, shell: Shell, request: pytest.FixtureRequest
) -> None:
    if document.name == "aiven.md":
        shell.environment |= request.getfixturevalue("aiven_reader")
    for block in read_blocks(document):
        # A component's defs.yaml is shown by orchestration/test_component.py.
        is_file = "streams:" in block.text and "attributes:" not in block.text
        if block.language == "yaml" and is_file:
            (shell.directory / "pipeline.yaml").write_text(block.text)
        if block.language == "sql" and document.name not in SQL_ELSEWHERE:
            shell.execute(block.text)
        for command in block.commands:
            if without_comment(command) not in ELSEWHERE:
                shell.run(command)


def test_the_demo_works_beside_a_file_without_a_source(shell: Shell) -> None:
    """As the README's reader has it: the demo first, then a file of their own, then the demo."""
    (shell.directory / "pipeline.yaml").write_text(
        "streams: {orders: {topic: shop.orders, table: public.orders}}\n"
    )
    assert "the built-in demo" in shell.run("kafka-pg demo --count 5")
    assert '"rows": 5' in shell.run("kafka-pg demo --count 5 --json")


def test_what_is_run_elsewhere_is_shown_somewhere() -> None:
    shown = {command for document in DOCUMENTS for command in read_commands(document)}
    assert set(ELSEWHERE) | set(ENDLESS) <= set(map(without_comment, shown))
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def find_command(words: list[str]) -> tuple[click.Command, list[str]] | None:
    """The command of a line of usage, down to its subcommand, and the words behind it."""
    entry = next((entry for entry in ENTRIES if entry.name == words[0]), None)
    if entry is None:
        return None
    command, rest = entry.load(), words[1:]
    if isinstance(command, click.Group) and rest:
        for name in rest[0].split("|"):
            assert name in command.commands, words
        return command.commands[rest[0].split("|")[0]], rest[1:]
    return command, rest


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_named_in_the_text_exist_with_their_options(document: Path) -> None:
    for code in read_code_in_text(document):
        words = shlex.split(re.sub(r"[\[\]…]", " ", code)) if code.startswith("kafka-pg ") else []
        if len(words) < 2 or words[1].startswith("-"):
            continue
        found = find_command(words[1:])
        assert found is not None, f"{document.name}: `{code}`: there is no such command"
        command, rest = found
        options = {option for parameter in command.params for option in parameter.opts}
        for word in rest:
            if word.startswith("-"):
                assert word.partition("=")[0] in options | {"--help"}, f"{document.name}: `{code}`"
