"""What pydantic found wrong with a file, in words that name what is allowed; no value is shown."""

import difflib

from pydantic_core import ErrorDetails

from kafka_pg_pipeline.settings.models import AT_KEY
from kafka_pg_pipeline.settings.positions import Path
from kafka_pg_pipeline.settings.schema import Node, find_node
from kafka_pg_pipeline.settings.wording import describe_allowed

_KEY_MARK = "[key]"
_PROBLEMS = {
    "missing": "this key is needed",
    "literal_error": "this value is not known",
    "enum": "this value is not known",
}


def locate(detail: ErrorDetails) -> Path:
    """The key that an error is about."""
    path = detail["loc"]
    if _is_marked(detail):
        return path[:-1]
    if detail["type"] == AT_KEY:
        return (*path, *str(detail["ctx"]["key"]).split("."))
    return path


def is_about_name(detail: ErrorDetails) -> bool:
    """Whether the key itself is wrong, whatever stands behind it."""
    return detail["type"] == "extra_forbidden" or _is_marked(detail)


def _is_marked(detail: ErrorDetails) -> bool:
    return detail["type"] != "extra_forbidden" and detail["loc"][-1:] == (_KEY_MARK,)


def explain(detail: ErrorDetails) -> str:
    """What is wrong, and what is allowed there."""
    path = locate(detail)
    if detail["type"] == AT_KEY:
        return str(detail["ctx"]["message"])
    if is_about_name(detail):
        return _explain_name(path[-1], find_node(path[:-1]) or {})
    problem = _PROBLEMS.get(detail["type"], "this value does not fit")
    if detail["type"] == "value_error":
        problem = detail["msg"].removeprefix("Value error, ")
    node = find_node(path)
    return problem if node is None else f"{problem}; allowed: {describe_allowed(node)}"


def _explain_name(name: str | int, section: Node) -> str:
    choices = section.get("anyOf", [section])
    known = [key for choice in choices for key in choice.get("properties", ())]
    if not known:
        names = section.get("propertyNames", {}).get(
            "patternErrorMessage", "text that is not empty"
        )
        return f"this name does not fit; allowed: {names}"
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"this key is not known; {hint}allowed: {', '.join(known)}"
