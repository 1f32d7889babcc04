"""YAML as plain values, with the line of every key, so that errors can point at it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from kafka_pg_pipeline.errors import ConfigurationError

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A parsed file: its values, and the line (from 1) of each key by its path."""

    name: str
    value: Any
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """Line of the key, or of the nearest section above it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def where(self, path: Path) -> str:
        """``file:line: key`` for an error message."""
        key = ".".join(map(str, path)) or "the file"
        return f"{self.name}:{self.line(path)}: {key}"


def parse_document(text: str, name: str) -> Document:
    """Parse YAML text.

    Raises:
        ConfigurationError: the text is no YAML, or a key stands twice in one section.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigurationError(f"{name}:{line}: this is no YAML: {error.problem}") from None
    except yaml.YAMLError:
        raise ConfigurationError(f"{name}:1: this is no YAML: a forbidden character") from None
    lines: dict[Path, int] = {}
    value = _build(node, (), lines, name) if node is not None else None
    return Document(name, value, lines)


def _build(node: yaml.Node, path: Path, lines: dict[Path, int], name: str) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _build_mapping(node, path, lines, name)
    if isinstance(node, yaml.SequenceNode):
        return [
            _build(child, (*path, index), lines, name) for index, child in enumerate(node.value)
        ]
    return yaml.SafeLoader("").construct_object(node)


def _build_mapping(
    node: yaml.MappingNode, path: Path, lines: dict[Path, int], name: str
) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        line = key_node.start_mark.line + 1
        child = (*path, key)
        if key in built:
            raise ConfigurationError(
                f"{name}:{line}: {'.'.join(map(str, child))}: this key stands twice, "
                f"first in line {lines[child]}"
            )
        lines[child] = line
        built[key] = _build(value_node, child, lines, name)
    return built
