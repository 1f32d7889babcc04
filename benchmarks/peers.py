"""Other people's programs: a Python environment of theirs, and the jars of Kafka Connect.

Both are kept in ``.local/`` of the checkout: nothing of them is a dependency of the product.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from kafka_pg_pipeline.local.artefacts import fetch_jars
from kafka_pg_pipeline.local.distribution import find_java
from kafka_pg_pipeline.local.lockfile import parse_lock

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "peers" / "requirements.txt"
LOCK = HERE / "peers" / "connect.lock"
_LIST = (
    "import json; from importlib.metadata import distributions;"
    "print(json.dumps({d.name.lower(): d.version for d in distributions()}))"
)


def fetch_python() -> str:
    """The interpreter that has the peers' packages; installs them the first time (2 GB)."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    folder = HERE.parent / ".local" / f"peers-{digest[:8]}"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        Console(stderr=True).print(f"installing {REQUIREMENTS.name} into {folder} (once)")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(REQUIREMENTS)]
        subprocess.run(pip, check=True)
        (folder / "installed").touch()
    return str(python)


def fetch_versions() -> dict[str, str]:
    """The versions of the packages that the requirements name."""
    done = subprocess.run([fetch_python(), "-c", _LIST], stdout=subprocess.PIPE, check=True)
    installed = json.loads(done.stdout)
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if "==" in line]
    names = [line.partition("==")[0].partition("[")[0].strip() for line in lines]
    return {name: installed[name] for name in names}


def fetch_connect() -> tuple[Path, list[Path]]:
    """Java, and the jars of Kafka Connect with the Debezium JDBC sink; downloaded once."""
    return find_java(), fetch_jars(parse_lock(LOCK.read_text("utf-8")))


def read_connect_versions() -> dict[str, str]:
    """The versions in the lock that a reader wants to know."""
    wanted = {"connect-runtime": "Kafka Connect", "debezium-connector-jdbc": "Debezium JDBC sink"}
    wanted["postgresql"] = "PostgreSQL JDBC driver"
    jars = parse_lock(LOCK.read_text("utf-8"))
    return {wanted[jar.artifact]: jar.version for jar in jars if jar.artifact in wanted}
