"""Schemas as a registry keeps them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """One schema: its kind (AVRO, PROTOBUF or JSON), its text, and the schemas that it refers to.

    ``references`` are pairs of the name that the text uses and the schema behind it, in the order
    in which the registry lists them.
    """

    kind: str
    text: str
    references: tuple[tuple[str, "RegisteredSchema"], ...] = ()
