"""Real records of Debezium; README.md tells what is in them."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Sample(NamedTuple):
    table: str
    key: bytes | None
    value: bytes | None


def read_samples(configuration: str, table: str) -> list[Sample]:
    """The records of one table under one configuration, in the order of the topic."""
    path = Path(__file__).with_name(f"{configuration}.jsonl")
    with path.open(encoding="utf-8") as lines:
        next(lines)
        return [sample for sample in _parse(lines) if sample.table == table]


def _parse(lines: Iterator[str]) -> Iterator[Sample]:
    for line in lines:
        given: dict[str, Any] = json.loads(line)
        yield Sample(given["table"], _decode(given["key"]), _decode(given["value"]))


def _decode(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
