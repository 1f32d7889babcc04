"""Secrets stand in the environment: the file holds the name of the variable alone."""

import re
from collections.abc import Iterator
from typing import Any

from kafka_pg_pipeline.settings.positions import Document, Fault, Path, spell
from kafka_pg_pipeline.settings.secret_keys import is_secret
from kafka_pg_pipeline.settings.values import LONE_REFERENCE

_REFERENCE = re.compile(LONE_REFERENCE)


def find_secrets(document: Document) -> tuple[dict[str, str], tuple[Fault, ...]]:
    """The variable behind each secret key, and the secrets that were written in clear.

    No default is allowed, as Dagster is told the variable alone.
    """
    variables: dict[str, str] = {}
    faults: list[Fault] = []
    for path, value in _secret_values(document.value, ()):
        match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match is not None:
            variables[spell(path)] = match[1]
        elif value:
            faults.append(
                document.fault(
                    path,
                    f"secrets do not belong into the file: write {path[-1]}: ${{NAME}} and set "
                    "that environment variable",
                )
            )
    return variables, tuple(faults)


def _secret_values(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if is_secret(path):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _secret_values(item, (*path, key))
