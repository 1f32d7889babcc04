"""``${NAME}`` and ``${NAME:-default}`` in strings of the file; ``$${`` stands for ``${``."""

import re
from collections.abc import Mapping
from typing import Any

from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.settings.positions import Document, Path

_REFERENCE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
# A secret has no default in the file: Dagster is told the variable alone.
ONE_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-)?\}")


def substitute(document: Document, environment: Mapping[str, str]) -> Any:
    """The document's values with every reference replaced.

    A string that becomes empty by substitution counts as not named and its key is left out.

    Raises:
        ConfigurationError: a variable without default is not set; names file, line and key.
    """
    return _walk(document, environment, document.value, ())


def _walk(document: Document, environment: Mapping[str, str], value: Any, path: Path) -> Any:
    if isinstance(value, dict):
        walked = {
            key: _walk(document, environment, item, (*path, key)) for key, item in value.items()
        }
        return {key: item for key, item in walked.items() if item != ""}
    if isinstance(value, list):
        return [
            _walk(document, environment, item, (*path, index)) for index, item in enumerate(value)
        ]
    if isinstance(value, str):
        return _replace(document, environment, value, path)
    return value


def _replace(document: Document, environment: Mapping[str, str], text: str, path: Path) -> str:
    def value_of(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        found = environment.get(match[1]) or match[2]
        if found is None:
            raise ConfigurationError(
                f"{document.where(path)}: the environment variable {match[1]} is not set; set it, "
                f"or give a default: ${{{match[1]}:-…}}"
            )
        return str(found)

    return _REFERENCE.sub(value_of, text)
