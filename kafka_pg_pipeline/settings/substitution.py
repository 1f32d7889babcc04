"""``${NAME}`` and ``${NAME:-default}`` in values of the file; ``$${`` stands for ``${``."""

import re
from collections.abc import Mapping
from typing import Any

from kafka_pg_pipeline.settings.positions import Document, Fault, Path
from kafka_pg_pipeline.settings.secret_keys import is_secret

_OPENING = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-((?:(?!\$\{)[^}])*))?\})?")
_FORMS = "${NAME}, ${NAME:-default}, or $${ for the characters themselves"


def substitute(document: Document, environment: Mapping[str, str]) -> tuple[Any, tuple[Fault, ...]]:
    """The document's values with every reference replaced, and what cannot be replaced.

    A value that cannot be replaced becomes None. What comes from the environment is not looked
    into again.
    """
    walk = _Walk(document, environment)
    values = walk.replace_all(document.value, ())
    return values, tuple(walk.faults)


class _Walk:
    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self.faults: list[Fault] = []
        self._document = document
        self._environment = environment

    def replace_all(self, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            for key in value:
                if "${" in key:
                    self._refuse((*path, key), "references stand in values, not in keys")
            return {key: self.replace_all(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.replace_all(item, (*path, index)) for index, item in enumerate(value)]
        return self._replace(value, path) if isinstance(value, str) else value

    def _replace(self, text: str, path: Path) -> str | None:
        told = len(self.faults)
        replaced = _OPENING.sub(lambda match: self._value_of(match, path), text)
        return replaced if len(self.faults) == told else None

    def _value_of(self, match: re.Match[str], path: Path) -> str:
        if match[0] == "$${":
            return "${"
        name = match[1]
        if name is None:
            self._refuse(path, f"this is no reference; allowed: {_FORMS}")
            return ""
        found = self._environment.get(name) or match[2]
        if found is None:
            default = "" if is_secret(path) else "default"
            self._refuse(
                path,
                f"the environment variable {name} is not set, or empty; set it, or write "
                f"${{{name}:-{default}}}",
            )
            return ""
        return found

    def _refuse(self, path: Path, message: str) -> None:
        self.faults.append(self._document.fault(path, message))
