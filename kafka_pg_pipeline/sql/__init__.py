"""Named queries and migrations, read once from the files beside this module.

A query file holds several queries, each under a line ``-- name: its_name``. ``{schema}`` stands
for the schema of the pipeline's own tables and is replaced by the adapter as an identifier.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

_HEADER = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_MIGRATION = re.compile(r"^(\d{4})_(\w+)\.sql$")


@dataclass(frozen=True, slots=True)
class Migration:
    """One forward-only step of the pipeline's own schema."""

    version: int
    name: str
    statements: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, so that an edited migration is noticed."""
        return hashlib.sha256(self.statements.encode()).hexdigest()


@cache
def load_queries(file: str) -> Mapping[str, str]:
    """Queries of ``sql/<file>.sql`` by name."""
    text = (resources.files(__package__) / f"{file}.sql").read_text("utf-8")
    parts = _HEADER.split(text)[1:]
    return MappingProxyType(dict(zip(parts[::2], parts[1::2], strict=True)))


@cache
def load_migrations() -> tuple[Migration, ...]:
    """All migrations, ascending by version."""
    folder = resources.files(__package__) / "migrations"
    found = []
    for entry in folder.iterdir():
        match = _MIGRATION.match(entry.name)
        if match:
            found.append(Migration(int(match[1]), match[2], entry.read_text("utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.version))
