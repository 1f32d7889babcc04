r"""Formats without structure: a record is one text, or its bytes."""

import msgspec

from kafka_pg_pipeline.domain.documents import Decoded
from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.verdicts import Rejected


class TextDecoder:
    """UTF-8 text as a JSON string."""

    def decode(self, data: bytes) -> Decoded:
        """The text.

        Raises:
            Rejected: it is not UTF-8.
        """
        try:
            return Decoded(msgspec.json.encode(data.decode()))
        except UnicodeDecodeError:
            raise Rejected(Stage.DECODE, Reason.INVALID_UTF8) from None


class BytesDecoder:
    r"""Bytes as a JSON string of ``\x`` and hexadecimal digits, as bytea takes them."""

    def decode(self, data: bytes) -> Decoded:
        """The bytes."""
        return Decoded(b'"\\\\x' + data.hex().encode() + b'"')


class JsonDecoder:
    """JSON as it is: what is no JSON shows when its fields are looked for."""

    def decode(self, data: bytes) -> Decoded:
        """The bytes themselves."""
        return Decoded(data)
