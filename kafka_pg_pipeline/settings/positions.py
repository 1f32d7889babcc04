"""The values of a file with the line of every key, so that whatever is wrong can point at it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka_pg_pipeline.errors import ConfigurationError

Path = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[\w${}<-][\w${}<>-]*", re.ASCII)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: the line, the key and what is allowed there."""

    line: int
    path: Path
    message: str


@dataclass(frozen=True)
class Document:
    """A parsed file: its values, all of them text, and the line (from 1) of each key by its path.

    ``faults`` are what is wrong with the file whatever its keys mean.
    """

    name: str
    value: Any
    lines: Mapping[Path, int]
    faults: tuple[Fault, ...] = ()

    def fault(self, path: Path, message: str) -> Fault:
        """A fault at the line of the key, or of the nearest section above it."""
        nearest = path
        while nearest and nearest not in self.lines:
            nearest = nearest[:-1]
        return Fault(self.lines.get(nearest, 1), path, message)

    def refuse(self, faults: Sequence[Fault]) -> ConfigurationError:
        """The error that tells all faults, a line each, in the order of the file."""
        ordered = sorted(faults, key=lambda fault: fault.line)
        return ConfigurationError(
            "\n".join(
                f"{self.name}:{fault.line}: {spell(fault.path)}: {fault.message}"
                for fault in ordered
            )
        )


def spell(path: Path) -> str:
    """The key as a person writes it: ``streams.orders.metadata[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = _PLAIN_KEY.fullmatch(part)
            text += f".{part if plain else json.dumps(part, ensure_ascii=not part.isprintable())}"
    return text.removeprefix(".") or "the file"
