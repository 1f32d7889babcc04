"""Nested objects to fields of their own, named ``parent_child``; arrays stay what they are."""

from collections.abc import Collection, Iterator, Mapping

import msgspec

from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.pipeline.decode_json import is_too_deep

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_BOM = b"\xef\xbb\xbf"


class Flattener:
    """Makes one level of a JSON object's many; values keep the text that they have.

    The fields that ``kept`` names stay as they are. An object without a field leaves nothing.
    """

    def __init__(self, separator: str, *, kept: Collection[str] = ()) -> None:
        self._separator = separator
        self._kept = frozenset(kept)

    def __call__(self, document: bytes) -> bytes:
        """The flat document; one that is no valid object is left to those who say why.

        Raises:
            Rejected: two fields get the same name.
        """
        if is_too_deep(document):
            return document
        try:
            fields = _decode(document.removeprefix(_BOM))
            if not any(map(_is_object, fields.values())):
                return document
            pairs = list(self._flatten(fields, ""))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return document
        flat = dict(pairs)
        if len(flat) < len(pairs):
            raise Rejected(Stage.DECODE, Reason.NAME_COLLISION)
        return msgspec.json.encode(flat)

    def _flatten(
        self, fields: Mapping[str, msgspec.Raw], prefix: str
    ) -> Iterator[tuple[str, msgspec.Raw]]:
        for name, raw in fields.items():
            path = prefix + name
            if _is_object(raw) and path not in self._kept:
                yield from self._flatten(_decode(raw), path + self._separator)
            else:
                yield path, raw


def _is_object(raw: msgspec.Raw) -> bool:
    return bytes(raw)[:1] == b"{"
