"""Programs as children of the tests, and what they leave behind."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.orchestration.dagster_dev import PROGRAMS, ROOT, child_environment


def run_program(
    home: Path, extra: Mapping[str, str], *command: str, expected: int | None = 0
) -> str:
    """Run one of the environment's programs to its end; its output."""
    done = subprocess.run(
        [str(PROGRAMS / command[0]), *command[1:]],
        cwd=ROOT,
        env=child_environment(home, extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert expected is None or done.returncode == expected, done.stdout[-3000:]
    return done.stdout


def execute_job(home: Path, extra: Mapping[str, str], job: str, *, expected: int = 0) -> str:
    """``dagster job execute``."""
    module = "kafka_pg_pipeline.definitions"
    command = ("dagster", "job", "execute", "-m", module, "-j", job)
    return run_program(home, extra, *command, expected=expected)


def all_files(home: Path) -> Iterator[tuple[Path, bytes]]:
    for path in home.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


def count_rows(bench: Bench) -> int:
    """Rows of the bench's table; 0 while there is none."""
    exists = bench.query("SELECT to_regclass(%s) IS NOT NULL", bench.stream.table)
    return bench.count() if exists[0][0] else 0
