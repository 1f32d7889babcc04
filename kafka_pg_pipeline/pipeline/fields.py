"""Which fields of the records no column takes, and whether topic and table belong together."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kafka_pg_pipeline.domain.records import Record
from kafka_pg_pipeline.domain.tables import TargetTable

# Records of a batch that are looked at: enough to see a field that a producer added.
LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class FieldLook:
    """What a look at some records found.

    ``untaken`` names the fields that no column takes, with the number of records that have them.
    ``is_foreign`` says that there were fields, and columns for some, but no field has a column.
    """

    untaken: Mapping[str, int]
    is_foreign: bool


def look_at_fields(records: Iterable[Record], target: TargetTable) -> FieldLook:
    """Compare the fields of records with the columns of a table."""
    taken = {column.field for column in target.columns if column.field is not None}
    found = Counter(name for record in records for name in _fields(record.value))
    untaken = {name: number for name, number in found.most_common() if name not in taken}
    return FieldLook(untaken, is_foreign=bool(taken and found) and len(untaken) == len(found))


def _fields(value: bytes | None) -> tuple[str, ...]:
    try:
        document = json.loads(value or b"")
    except (ValueError, RecursionError):
        return ()
    return tuple(document) if isinstance(document, dict) else ()
