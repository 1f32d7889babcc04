"""What ``verify`` found: a broken invariant with its coordinates."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One place where an invariant of the delivery protocol does not hold.

    ``invariant`` is a stable name (``tiling``, ``duplicates``, …); ``offset`` is where to look.
    """

    invariant: str
    topic: str
    partition: int
    offset: int
    description: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.topic}[{self.partition}]@{self.offset}: {self.description}"


@dataclass(frozen=True, slots=True)
class Verification:
    """The invariants that were checked, those that could not be, and what was found."""

    checked: tuple[str, ...]
    unchecked: tuple[str, ...]
    findings: tuple[Finding, ...]

    def __add__(self, other: "Verification") -> "Verification":
        return Verification(
            tuple(dict.fromkeys((*self.checked, *other.checked))),
            tuple(dict.fromkeys((*self.unchecked, *other.unchecked))),
            (*self.findings, *other.findings),
        )
