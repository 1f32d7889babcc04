"""``TopicTableComponent``: a ``dg`` project whose ``defs.yaml`` holds a pipeline.yaml."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kafka_pg_pipeline.settings.file import load_attributes
from kafka_pg_pipeline_tests.configuration import environment_of, write_file
from kafka_pg_pipeline_tests.docs.blocks import read_blocks
from kafka_pg_pipeline_tests.fix_streams import Bench

DOCUMENT = Path(__file__).parents[2] / "docs" / "dagster.md"
TYPE = "kafka_pg_pipeline.components.TopicTableComponent"
PYPROJECT = """
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "shop"
code_location_target_module = "shop.definitions"
"""
DEFINITIONS = """
from pathlib import Path
import dagster as dg

@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""

Program = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project as ``dg`` scaffolds it, with an empty folder for the component."""
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "shop" / "defs" / "orders").mkdir(parents=True)
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "defs" / "__init__.py").touch()
    (tmp_path / "shop" / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.fixture
def run(project: Path) -> Program:
    """Runs a program of the environment in the project."""

    def run_program(name: str, *arguments: str, **environment: str) -> Any:
        return subprocess.run(
            [str(Path(sys.executable).with_name(name)), *arguments],
            cwd=project,
            env={
                **os.environ,
                "DAGSTER_HOME": str(project / "home"),
                "PYTHONPATH": os.pathsep.join((str(project), os.environ.get("PYTHONPATH", ""))),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run_program


def write_component(project: Path, attributes: str) -> Path:
    file = project / "shop" / "defs" / "orders" / "defs.yaml"
    file.write_text(f"type: {TYPE}\n\nattributes:\n{textwrap.indent(attributes, '  ')}")
    return file


def test_a_project_loads_records_by_its_defs_yaml_alone(
    bench: Bench, project: Path, run: Program, tmp_path: Path
) -> None:
    bench.create_topic()
    bench.produce([{"id": number} for number in range(20)])
    pipeline = tmp_path / "pipeline.yaml"
    write_file(pipeline, bench)
    write_component(project, yaml.safe_dump(yaml.safe_load(pipeline.read_text())))
    environment = environment_of(bench, pipeline)
    del environment["KAFKA_PG_CONFIG"]
    checked = run("dg", "check", "defs", **environment)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    loaded = run(
        *("dagster", "job", "execute", "-m", "shop.definitions", "-j", f"load_{bench.name}"),
        **environment,
    )
    assert loaded.returncode == 0, loaded.stderr
    assert bench.count() == 20
    bench.assert_exactly_once()


def test_what_is_wrong_is_told_with_the_line_of_defs_yaml(project: Path, run: Program) -> None:
    file = write_component(
        project, "streams:\n  orders:\n    topic: shop.orders\n    tabel: public.orders\n"
    )
    checked = run("dg", "check", "defs")
    assert checked.returncode != 0
    told = f"{file}:7: streams.orders.tabel: this key is not known; did you mean table?"
    assert told in checked.stdout + checked.stderr


def test_dg_knows_the_component(run: Program) -> None:
    listed = run("dg", "list", "components", "--json")
    assert TYPE in listed.stdout, listed.stdout + listed.stderr


def test_a_component_without_attributes_says_what_it_needs(project: Path, run: Program) -> None:
    (project / "shop" / "defs" / "orders" / "defs.yaml").write_text(f"type: {TYPE}\n")
    checked = run("dg", "check", "defs")
    assert checked.returncode != 0
    assert "must hold sections" in checked.stdout + checked.stderr


def test_the_defs_yaml_of_the_docs_is_one(tmp_path: Path) -> None:
    [block] = [block for block in read_blocks(DOCUMENT) if TYPE in block.text]
    file = tmp_path / "defs.yaml"
    file.write_text(block.text)
    loaded = load_attributes(file, {"KAFKA_BOOTSTRAP_SERVERS": "k:9092"})
    assert loaded.settings.kafka.bootstrap_servers == "k:9092"
    assert loaded.settings.streams["orders"].table == "public.orders"
