"""YAML text to a document. Scalars stay the text that was written; the models give it a type.

So YAML's own guesses never change a value: ``no`` can name a country, ``0100`` is a hundred, and
``${PORT}`` and ``5432`` are read alike.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.settings.positions import Document, Fault, Path

# Anchors that hold anchors can stand for more values than there is memory.
_MOST_VALUES = 1_000_000
_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = frozenset(
    f"{_TAG}{name}" for name in ("str", "bool", "int", "float", "timestamp", "value", "merge")
)
_NULL_TAG = f"{_TAG}null"
_MERGE_TAG = f"{_TAG}merge"
_NO_TAGS = "tags (!…) have no meaning here; text that begins with ! belongs in quotes"
# What PyYAML quotes may be a secret that was written without quotes; single characters and its own
# words, which stand in <>, are none.
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
_HARMLESS = re.compile(r"""["'](.|<[a-z ]+>)["']""")

_Pair = tuple[yaml.ScalarNode, yaml.Node]


def parse_document(text: str, name: str, *, section: str | None = None) -> Document:
    """Parse YAML text; what is wrong with single keys is told by the document's ``faults``.

    With ``section`` the document is what lies under that key, its lines those of the whole text.

    Raises:
        ConfigurationError: the text is no YAML, nested too deep, or stands for too much.
    """
    builder = _Builder(name)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if section is not None:
            node = _find_section(node, section)
        value = None if node is None else builder.build(node, ())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigurationError(f"{name}:{line}: this is no YAML: {_explain(error)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigurationError(f"{name}:{line}: this is no YAML: a control character") from None
    except RecursionError:
        raise ConfigurationError(f"{name}:1: sections lie too deep in each other") from None
    return Document(name, value, builder.lines, tuple(builder.faults))


def _find_section(node: yaml.Node | None, section: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if key.value == section), None)


def _explain(error: yaml.MarkedYAMLError) -> str:
    problem, context = error.problem or "", error.context or ""
    if r"'\t'" in problem:
        return "a tab; YAML is indented with spaces"
    if "alias" in problem + context:
        return "text that begins with * belongs in quotes, unless it names an anchor"
    if "duplicate anchor" in context:
        return "two anchors have one name; text that begins with & belongs in quotes"
    if "anchor" in context:
        return "text that begins with & belongs in quotes, unless it names an anchor"
    if "cannot start any token" in problem:
        return "text that begins with @, ` or % belongs in quotes"
    if "but got '{'" in problem:
        return "${…} inside { } or [ ] belongs in quotes"
    if "another document" in problem:
        return "a second document begins here; the file holds one"
    return _QUOTED.sub(lambda quote: quote[0] if _HARMLESS.fullmatch(quote[0]) else "…", problem)


class _Builder:
    """Makes plain values of YAML's nodes and notes where each key stands."""

    def __init__(self, name: str) -> None:
        self.lines: dict[Path, int] = {}
        self.faults: list[Fault] = []
        self._name = name
        self._open: set[int] = set()
        self._count = 0

    def build(self, node: yaml.Node, path: Path) -> Any:
        self.lines.setdefault(path, _line(node))
        self._count += 1
        if self._count > _MOST_VALUES:
            raise ConfigurationError(
                f"{self._name}:{_line(node)}: the anchors stand for more than {_MOST_VALUES:,} "
                "values"
            )
        if isinstance(node, yaml.ScalarNode):
            return self._build_scalar(node, path)
        if id(node) in self._open:
            self._refuse(node, path, "an anchor cannot hold itself")
            return None
        self._open.add(id(node))
        try:
            return self._build_collection(node, path)
        finally:
            self._open.discard(id(node))

    def _build_scalar(self, node: yaml.ScalarNode, path: Path) -> str | None:
        if node.tag == _NULL_TAG:
            return None
        if node.tag not in _TEXT_TAGS:
            self._refuse(node, path, _NO_TAGS)
        return str(node.value)

    def _build_collection(self, node: yaml.Node, path: Path) -> Any:
        if node.tag == f"{_TAG}map" and isinstance(node, yaml.MappingNode):
            return self._build_mapping(node, path)
        if node.tag == f"{_TAG}seq" and isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*path, index)) for index, child in enumerate(node.value)]
        self._refuse(node, path, _NO_TAGS)
        return None

    def _build_mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, value_node in self._own_pairs(node, path):
            child = (*path, key_node.value)
            if key_node.value in built:
                first = self.lines[child]
                self._refuse(key_node, child, f"this key stands twice, first in line {first}")
            else:
                self._add(built, path, (key_node, value_node))
        for pair in self._merged_pairs(node, path):
            if pair[0].value not in built:
                self._add(built, path, pair)
        return built

    def _add(self, built: dict[str, Any], path: Path, pair: _Pair) -> None:
        key_node, value_node = pair
        child = (*path, key_node.value)
        self.lines[child] = _line(key_node)
        built[key_node.value] = self.build(value_node, child)

    def _own_pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[_Pair]:
        """The pairs that stand in the section itself."""
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE_TAG:
                continue
            if isinstance(key_node, yaml.ScalarNode):
                yield key_node, value_node
            else:
                self._refuse(key_node, path, "a key is text, not a list or a section")

    def _merged_pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[_Pair]:
        """The pairs that ``<<`` brings in, the nearest first."""
        for key_node, value_node in node.value:
            if key_node.tag != _MERGE_TAG:
                continue
            is_list = isinstance(value_node, yaml.SequenceNode)
            for source in value_node.value if is_list else [value_node]:
                if isinstance(source, yaml.MappingNode) and id(source) not in self._open:
                    yield from self._pairs_of_source(source, path)
                else:
                    self._refuse(key_node, (*path, "<<"), "allowed: another section, as *name")

    def _pairs_of_source(self, source: yaml.MappingNode, path: Path) -> Iterator[_Pair]:
        self._open.add(id(source))
        try:
            yield from self._own_pairs(source, path)
            yield from self._merged_pairs(source, path)
        finally:
            self._open.discard(id(source))

    def _refuse(self, node: yaml.Node, path: Path, message: str) -> None:
        self.faults.append(Fault(_line(node), path, message))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
