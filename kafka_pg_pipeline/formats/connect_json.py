"""What Kafka Connect's JsonConverter writes: schema and payload, or a payload alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from kafka_pg_pipeline.domain.documents import Change, Decoded
from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.verdicts import Rejected, Unfit
from kafka_pg_pipeline.formats.connect_schema import (
    BadValueError,
    Rewrite,
    compile_schema,
    split_object,
)

_NULL = b"null"
# A topic has few schemas, one for each change of its table.
_MOST_SCHEMAS = 1_000


class SchemaCache:
    """Compiles each schema text once."""

    def __init__(self, compile_text: Callable[[Any], Any]) -> None:
        self._compile = compile_text
        self._compiled: dict[bytes, Any] = {}

    def __getitem__(self, text: bytes) -> Any:
        if text not in self._compiled:
            if len(self._compiled) >= _MOST_SCHEMAS:
                self._compiled.clear()
            self._compiled[text] = self._compile(msgspec.json.decode(text))
        return self._compiled[text]


class ConnectJsonDecoder:
    """Decodes values and keys; by their schema where they have one."""

    def __init__(self) -> None:
        self._rewrites = SchemaCache(compile_schema)

    def decode(self, data: bytes) -> Decoded:
        """The payload; none at all is a deletion, as Connect writes one.

        Raises:
            Rejected: it is no JSON, or not what its schema says.
        """
        with rejections():
            schema, payload = unwrap(data)
            rewrite: Rewrite | None = None if schema is None else self._rewrites[schema]
            if payload == _NULL:
                return Decoded(None, Change.DELETE)
            return Decoded(payload if rewrite is None else rewrite(payload))


def unwrap(data: bytes) -> tuple[bytes | None, bytes]:
    """Schema and payload as they are written; no schema where there is no such wrapper."""
    if not data.lstrip().startswith(b"{"):
        return None, data
    fields = split_object(data)
    if fields.keys() != {"schema", "payload"}:
        return None, data
    schema = bytes(fields["schema"])
    return None if schema == _NULL else schema, bytes(fields["payload"])


@contextmanager
def rejections() -> Iterator[None]:
    """Turn what the pieces of a decoder raise into a verdict on the record."""
    try:
        yield
    except Unfit as unfit:
        reason = unfit.reason
    except UnicodeDecodeError:
        reason = Reason.INVALID_UTF8
    except RecursionError:
        reason = Reason.TOO_DEEP
    except (msgspec.ValidationError, BadValueError, LookupError, TypeError):
        reason = Reason.UNDECODABLE
    except msgspec.DecodeError:
        reason = Reason.INVALID_JSON
    else:
        return
    raise Rejected(Stage.DECODE, reason)
