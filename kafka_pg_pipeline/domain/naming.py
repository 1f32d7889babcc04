"""Names of columns that are made for fields."""

import hashlib
import re
from enum import Enum

from kafka_pg_pipeline.domain.tables import NAME_BYTES

_DIGEST = 8
# A capital after a small letter or a digit, and the last capital of a row before a small letter.
_HUMP = re.compile(r"(?<=[^\W_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_WORD = re.compile(r"\W+")
# In every table already (PostgreSQL documentation, 5.6).
_SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})


class Naming(str, Enum):
    """SNAKE_CASE: lower case with underscores, as SQL reads it unquoted. PRESERVE: as it is."""

    SNAKE_CASE = "snake_case"
    PRESERVE = "preserve"


def name_column(field: str, naming: Naming) -> str:
    """The column that a field gets: the same in every run, and never cut silently.

    A name that is longer than PostgreSQL keeps ends in a part of its own digest.
    """
    return _shorten(_snake_case(field) if naming is Naming.SNAKE_CASE else field)


def can_name(column: str) -> bool:
    """Whether PostgreSQL takes a column of that name."""
    return bool(column) and "\0" not in column and column not in _SYSTEM_COLUMNS


def _snake_case(name: str) -> str:
    words = _NO_WORD.sub("_", _HUMP.sub("_", name)).lower()
    return f"_{words}" if words[:1].isdigit() else words


def _shorten(name: str) -> str:
    if len(name.encode(errors="surrogatepass")) <= NAME_BYTES:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:_DIGEST]
    head = name.encode(errors="ignore")[: NAME_BYTES - _DIGEST - 1].decode(errors="ignore")
    return f"{head}_{digest}"
