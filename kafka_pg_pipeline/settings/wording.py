"""What a key of the file may hold, in words: for messages and for the table of settings."""

from kafka_pg_pipeline.settings.schema import Node


def describe_allowed(node: Node) -> str:
    """Such as ``a whole number from 1 to 65535`` or ``'fail' or 'continue'``."""
    if "patternErrorMessage" in node:
        return str(node["patternErrorMessage"])
    if "enum" in node:
        return join_choices([f"'{word}'" for word in node["enum"]])
    if "anyOf" in node:
        return ", or ".join(map(describe_allowed, node["anyOf"]))
    return _DESCRIPTIONS[node["type"]](node)


def describe_default(node: Node) -> str:
    """The default as one writes it in the file; empty where there is none."""
    default = node.get("default", "")
    return str(default).lower() if isinstance(default, bool) else str(default)


def join_choices(words: list[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _describe_text(node: Node) -> str:
    if node.get("format") == "path":
        return "a path, relative to the file"
    return "text that is not empty" if "minLength" in node else "text"


def _describe_number(node: Node) -> str:
    noun = "a whole number" if node["type"] == "integer" else "a number"
    least, most = _number(node, "minimum"), _number(node, "maximum")
    if least and most:
        return f"{noun} from {least} to {most}"
    if above := _number(node, "exclusiveMinimum"):
        return f"{noun} above {above}" + (f", {most} at most" if most else "")
    return f"{noun}, {least} at least" if least else noun


def _number(node: Node, bound: str) -> str:
    return str(node.get(bound, ""))


def _describe_section(node: Node) -> str:
    keys = node.get("properties")
    return f"a section with the keys {', '.join(keys)}" if keys else "a section of `name: value`"


_DESCRIPTIONS = {
    "string": _describe_text,
    "integer": _describe_number,
    "number": _describe_number,
    "boolean": lambda _: "true or false",
    "array": lambda node: f"a list of {describe_allowed(node['items'])}",
    "object": _describe_section,
}
