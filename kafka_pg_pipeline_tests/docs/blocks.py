"""Takes documents apart: fenced blocks, the commands shown in them, and code within the text."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_IN_TEXT = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """What stands behind each prompt."""
        return [line.removeprefix("$ ") for line in self.text.splitlines() if line[:2] == "$ "]


def read_blocks(document: Path) -> list[Block]:
    return [Block(*match.groups()) for match in _FENCED.finditer(document.read_text())]


def read_commands(document: Path) -> list[str]:
    return [command for block in read_blocks(document) for command in block.commands]


def read_code_in_text(document: Path) -> list[str]:
    return _IN_TEXT.findall(_FENCED.sub("", document.read_text()))
