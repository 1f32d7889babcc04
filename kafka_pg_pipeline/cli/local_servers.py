"""Starts the local stack where a command needs it, and tells the directory of Dagster's data."""

import os
from importlib import resources
from pathlib import Path

from kafka_pg_pipeline.assembly.endpoints import needs_local_stack
from kafka_pg_pipeline.cli.output import Steps
from kafka_pg_pipeline.local.endpoints import default_home
from kafka_pg_pipeline.local.files import make_private_directory
from kafka_pg_pipeline.local.stack import LocalStack
from kafka_pg_pipeline.settings.file import LoadedSettings

LOCATION = "kafka_pg_pipeline"
# What Dagster's UI finds the runs of its code location by; a run in this process has it not.
LOCATION_TAGS = {".dagster/repository": f"__repository__@{LOCATION}"}
_WORKSPACE = f"""\
load_from:
  - python_module: {{module_name: kafka_pg_pipeline.definitions, location_name: {LOCATION}}}
"""


def ensure_servers(loaded: LoadedSettings, tell: Steps) -> bool:
    """Start the local stack unless file or environment name both servers; True where it serves."""
    if not needs_local_stack(loaded.settings, os.environ):
        return False
    stack = LocalStack()
    if not stack.status().is_up:
        stack.up(tell)
    return True


def ensure_dagster_home() -> Path:
    """DAGSTER_HOME, else a directory beside the local stack that is prepared for one machine."""
    named = os.environ.get("DAGSTER_HOME")
    if named:
        return Path(named).expanduser().absolute()
    home = make_private_directory(default_home() / "dagster")
    configuration = home / "dagster.yaml"
    if not configuration.exists():
        configuration.write_bytes(read_dagster_yaml())
    return home


def write_workspace(home: Path) -> Path:
    """The file that tells Dagster of our code location, under the name that runs carry."""
    workspace = home / ".kafka_pg_workspace.yaml"
    workspace.write_text(_WORKSPACE, encoding="utf-8")
    return workspace


def read_dagster_yaml() -> bytes:
    """Dagster's instance file for one machine."""
    return (resources.files(__package__) / "dagster.yaml").read_bytes()


def build_environment(loaded: LoadedSettings, home: Path) -> dict[str, str]:
    """What Dagster's processes must know to find the same file, servers and data as we do."""
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "KAFKA_PG_HOME": str(default_home()),
        # Dagster announces the successor of each of its own commands; that is not for our users.
        "PYTHONWARNINGS": "ignore",
    }
    if loaded.path is not None:
        environment["KAFKA_PG_CONFIG"] = str(loaded.path)
    return environment
