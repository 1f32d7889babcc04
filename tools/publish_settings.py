"""Write what the models of the configuration file say into the documents.

These are docs/pipeline.schema.json, for editors, and the table between two marks of
docs/configuration.md. Exit status: 0, or 1 where --check found a document that differs.

    python tools/publish_settings.py [--check] [--docs DIRECTORY]
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kafka_pg_pipeline.settings.schema import Node, build_published_schema, build_schema
from kafka_pg_pipeline.settings.wording import describe_allowed, describe_default

ROOT = Path(__file__).resolve().parents[1]
SCHEMA, PAGE = "pipeline.schema.json", "configuration.md"
_BEGIN = "<!-- The tables are made by tools/publish_settings.py. -->\n"
_END = "<!-- Here they end. -->\n"
_HEAD = "| key | takes | default | meaning |\n|---|---|---|---|\n"
_ANY_NAME = "NAME"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the documents, or tell which differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", metavar="DIRECTORY")
    options = parser.parse_args(arguments)
    wanted = {
        options.docs / SCHEMA: render_schema(),
        options.docs / PAGE: insert_tables((options.docs / PAGE).read_text("utf-8")),
    }
    stale = [path for path, text in wanted.items() if read(path) != text]
    for path in stale:
        if options.check:
            sys.stderr.write(f"{path} differs from the models: python tools/publish_settings.py\n")
        else:
            path.write_text(wanted[path], "utf-8")
            sys.stdout.write(f"{path}\n")
    return 1 if stale and options.check else 0


def read(path: Path) -> str | None:
    """The file's text; None where there is none."""
    return path.read_text("utf-8") if path.exists() else None


def render_schema() -> str:
    """The JSON Schema as it is published."""
    return json.dumps(build_published_schema(), indent=2, ensure_ascii=False) + "\n"


def insert_tables(page: str) -> str:
    """The page with the tables as they should be.

    Raises:
        SystemExit: the page lacks one of the marks.
    """
    head, begin, rest = page.partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    if not (begin and end):
        raise SystemExit(f"{PAGE} lacks the lines {_BEGIN!r} and {_END!r}")
    return f"{head}{begin}\n{render_tables()}\n{end}{tail}"


def render_tables() -> str:
    """A table for each section of the file."""
    tables = []
    for name, section in build_schema()["properties"].items():
        title, keys = (name, section)
        if "properties" not in section:
            title, keys = f"{name}.{_ANY_NAME}", section["additionalProperties"]
        rows = "".join(f"| {' | '.join(map(escape, row))} |\n" for row in list_keys(keys))
        tables.append(f"### `{title}`\n\n{section['description']}\n\n{_HEAD}{rows}")
    return "\n".join(tables)


def list_keys(section: Node, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Key, what it takes, its default and its meaning, down to the last section."""
    for name, node in section["properties"].items():
        key = f"`{prefix}{name}`"
        if "properties" in node:
            yield key, "a section", "", node["description"]
            yield from list_keys(node, f"{prefix}{name}.")
        else:
            default = describe_default(node)
            shown = f"`{default}`" if default else ""
            needed = "needed" if name in section.get("required", ()) else shown
            yield key, describe_allowed(node), needed, node["description"]
            for section in find_sections(node.get("additionalProperties")):
                yield from list_keys(section, f"{prefix}{name}.{_ANY_NAME}.")


def find_sections(node: Any) -> list[Node]:
    """The sections that may stand under a name of one's choice."""
    choices = node.get("anyOf", [node]) if isinstance(node, dict) else []
    return [choice for choice in choices if "properties" in choice]


def escape(cell: str) -> str:
    """The text as Markdown shows it unchanged, save for code."""
    if cell.startswith("`"):
        return cell
    for character in "\\*<|":
        cell = cell.replace(character, f"\\{character}")
    return cell


if __name__ == "__main__":
    sys.exit(main())
