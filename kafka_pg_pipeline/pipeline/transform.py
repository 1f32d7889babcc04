"""The Python function that a stream names: it makes a row of each document, or leaves it out."""

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from kafka_pg_pipeline.domain.records import Reason, Record, Stage
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.pipeline.decode_json import is_too_deep

_BOM = "\ufeff"
_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class RecordView:
    """What a transform may know of the record; ``timestamp`` is in milliseconds, -1 for none."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


Transform = Callable[[dict[str, Any], RecordView], Mapping[str, Any] | None]


def load_transform(name: str, topic: str) -> Callable[[Record, bytes], bytes | None]:
    """The function ``module:function``, from documents to documents; None leaves a record out.

    What it returns raises Rejected where the document is no object or the function fails; a
    word of its exception could be data, so that none is passed on.

    Raises:
        ConfigurationError: there is no such module or function.
    """
    transform = _import(name)

    def apply(record: Record, document: bytes) -> bytes | None:
        fields = _read(document)
        view = RecordView(
            topic, record.partition, record.offset, record.timestamp, record.key, record.headers
        )
        try:
            row = transform(fields, view)
            return None if row is None else _encode(_to_plain(row))
        except UnicodeEncodeError:
            raise Rejected(Stage.DECODE, Reason.LONE_SURROGATE) from None
        except Exception:  # noqa: BLE001 - whatever it raises, this record is the one to blame
            raise Rejected(Stage.DECODE, Reason.TRANSFORM_FAILED) from None

    return apply


def _import(name: str) -> Transform:
    module_name, _, function_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigurationError(
            f"transform: {name}: the module cannot be imported: {type(error).__name__}: {error}. "
            "It must be installed, or lie in a directory of PYTHONPATH"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ConfigurationError(f"transform: {name}: {module_name} has no such function")
    loaded: Transform = function
    return loaded


def _read(document: bytes) -> dict[str, Any]:
    """The document's fields; numbers are int or Decimal, with all their digits."""
    if is_too_deep(document):
        raise Rejected(Stage.DECODE, Reason.TOO_DEEP)
    try:
        fields = json.loads(
            document.decode().removeprefix(_BOM),
            parse_float=Decimal,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError:
        raise Rejected(Stage.DECODE, Reason.INVALID_UTF8) from None
    except ValueError:
        raise Rejected(Stage.DECODE, Reason.INVALID_JSON) from None
    if not isinstance(fields, dict):
        raise Rejected(Stage.DECODE, Reason.NOT_AN_OBJECT)
    return fields


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _to_plain(value: Any) -> Any:
    r"""The value as documents hold it: bytes as ``\x`` and digits, NaN and infinities as words."""
    if isinstance(value, Mapping):
        return {str(name): _to_plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(item) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return "\\x" + bytes(value).hex()
    if isinstance(value, float | Decimal):
        number = Decimal(repr(value)) if isinstance(value, float) else value
        return value if number.is_finite() else str(number)
    return value
