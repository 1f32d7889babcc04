"""The package as people install it: the built wheel alone, and the requirements file."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("kafka_pg_pipeline", "pyproject.toml", "setup.py", "README.md", "LICENSE")


def run(*command: object, directory: Path, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=directory,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content, built from a copy without anything that git does not know."""
    sources = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, sources / name)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", ".")
    run(*pip, directory=sources)
    [wheel] = (sources / "dist").glob("*.whl")
    content = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(content)
    return content


def test_the_wheel_holds_every_file_of_the_package(installed: Path) -> None:
    def files(root: Path) -> set[str]:
        found = (path for path in (root / "kafka_pg_pipeline").rglob("*") if path.is_file())
        return {str(path.relative_to(root)) for path in found if path.suffix != ".pyc"}

    assert files(installed) == files(ROOT)
    assert {path.name.partition("-")[0] for path in installed.iterdir()} == {"kafka_pg_pipeline"}


def test_the_wheel_works_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    program = (
        "import kafka_pg_pipeline, kafka_pg_pipeline.definitions as code, sys;"
        "from kafka_pg_pipeline.sql import load_migrations, load_queries;"
        "assert kafka_pg_pipeline.__file__.startswith(sys.argv[1]), kafka_pg_pipeline.__file__;"
        "print(len(load_migrations()), len(load_queries('positions')) > 3,"
        " code.defs.resolve_job_def('kafka_to_postgres').name)"
    )
    said = run(
        *(sys.executable, "-W", "ignore", "-c", program, installed),
        directory=tmp_path,
        PYTHONPATH=str(installed),
    )
    migrations = len(list((ROOT / "kafka_pg_pipeline" / "sql" / "migrations").glob("*.sql")))
    assert said.split() == [str(migrations), "True", "kafka_to_postgres"]


def test_the_requirements_file_can_be_installed(tmp_path: Path) -> None:
    dry = (sys.executable, "-m", "pip", "install", "--quiet", "--dry-run")
    run(*dry, "--requirement", ROOT / "requirements.txt", directory=ROOT)
