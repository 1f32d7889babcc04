"""The configuration file's JSON Schema, made of the models: for editors, messages and the docs."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from kafka_pg_pipeline.settings.models import PipelineSettings
from kafka_pg_pipeline.settings.positions import Path
from kafka_pg_pipeline.settings.values import REFERENCE

_DIALECT = "http://json-schema.org/draft-07/schema#"
_NESTED = ("properties", "additionalProperties", "items", "anyOf")

Node = dict[str, Any]


@cache
def build_schema() -> Node:
    """What the models say of a file without references to the environment; not to be changed."""
    raw = PipelineSettings.model_json_schema()
    return _tidy(raw, raw.get("$defs", {}))


def build_published_schema() -> Node:
    """The schema for editors: ``${NAME}`` may stand for any value, and a section may be empty."""
    schema = _admit_references(build_schema())
    return {
        "$schema": _DIALECT,
        "title": "Configuration of kafka_pg_pipeline",
        **schema,
        "definitions": {"reference": _REFERENCE},
    }


def find_node(path: Path) -> Node | None:
    """The part of ``build_schema`` that describes a key; None where the key is not known."""
    node: Node | None = build_schema()
    for part in path:
        if node is None:
            return None
        node = _step(node, part)
    return node


def _step(node: Node, part: str | int) -> Node | None:
    for choice in node.get("anyOf", [node]):
        if isinstance(part, int):
            found = choice.get("items")
        else:
            found = choice.get("properties", {}).get(part) or choice.get("additionalProperties")
        if isinstance(found, dict):
            return found
    return None


# -- from pydantic's form to one that is the same in all its versions ------------------------------


def _tidy(node: Node, definitions: Mapping[str, Node]) -> Node:
    """The node with definitions in their place, without titles, nulls and empty defaults."""
    node = _inline(node, definitions)
    tidied = {
        key: _shorten(value)
        for key, value in node.items()
        if key not in ("title", "$defs", "const", "patternProperties", *_NESTED)
        and not (key == "default" and value in (None, ""))
    }
    if "const" in node:
        tidied["enum"] = [node["const"]]
    return {**tidied, **_tidy_nested(node, definitions)}


def _shorten(value: Any) -> Any:
    """Whole numbers without a point, as only some versions write them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _inline(node: Node, definitions: Mapping[str, Node]) -> Node:
    """A reference, and a choice of one beside null, become what they stand for."""
    alternatives = [node] if "$ref" in node else node.get("anyOf") or node.get("allOf") or []
    real = [choice for choice in alternatives if choice.get("type") != "null"]
    if len(real) != 1:
        return node
    only = real[0]
    if "$ref" in only:
        only = definitions[only["$ref"].rpartition("/")[2]]
    own = {key: value for key, value in node.items() if key not in ("$ref", "anyOf", "allOf")}
    return _inline({**only, **own}, definitions)


def _tidy_nested(node: Node, definitions: Mapping[str, Node]) -> Node:
    nested: Node = {}
    if "properties" in node:
        nested["properties"] = {
            name: _tidy(child, definitions) for name, child in node["properties"].items()
        }
    if "anyOf" in node:
        nested["anyOf"] = [_tidy(child, definitions) for child in node["anyOf"]]
    # propertyNames says of keys what the pattern does, in words too.
    for others in (node.get("additionalProperties"), *node.get("patternProperties", {}).values()):
        if others is not None:
            is_node = isinstance(others, dict)
            nested["additionalProperties"] = _tidy(others, definitions) if is_node else others
    if "items" in node:
        nested["items"] = _tidy(node["items"], definitions)
    return nested


# -- what a file may hold beside values ------------------------------------------------------------

_REFERENCE = {
    "type": "string",
    "pattern": REFERENCE,
    "description": "a value from the environment: ${NAME}, or ${NAME:-default}",
}
_TO_REFERENCE = {"$ref": "#/definitions/reference"}
_FREE_TEXT = frozenset({"type", "description", "default", "format", "minLength"})


def _admit_references(node: Node) -> Node:
    if node.get("writeOnly") or (node.get("type") == "string" and node.keys() <= _FREE_TEXT):
        return node
    if not _is_collection(node):
        about: Node = {key: node[key] for key in ("description", "default") if key in node}
        value = {key: item for key, item in node.items() if key not in about}
        return {**about, "anyOf": [*value.get("anyOf", [value]), _TO_REFERENCE]}
    admitted = dict(node)
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            admitted[key] = _admit_references(node[key])
    if "anyOf" in node:
        admitted["anyOf"] = [_admit_references(choice) for choice in node["anyOf"]]
    if "properties" in node:
        required = node.get("required", ())
        children = {name: _admit_references(child) for name, child in node["properties"].items()}
        admitted["properties"] = {
            name: child if name in required else _admit_nothing(child)
            for name, child in children.items()
        }
    return admitted


def _admit_nothing(node: Node) -> Node:
    """A section whose keys are all commented out is null to YAML."""
    if not _is_collection(node):
        return node
    if "anyOf" in node:
        return {**node, "anyOf": [*node["anyOf"], {"type": "null"}]}
    return {**node, "type": [node["type"], "null"]}


def _is_collection(node: Node) -> bool:
    return any(choice.get("type") in ("array", "object") for choice in node.get("anyOf", [node]))
