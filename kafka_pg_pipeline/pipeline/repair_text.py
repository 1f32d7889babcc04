r"""The policies for text that PostgreSQL cannot hold: U+0000 and half surrogate pairs.

Strict UTF-8 has no bytes for a half pair, and JSON allows no raw U+0000: in a valid document both
can only stand as ``\u`` escapes.
"""

import re

from kafka_pg_pipeline.domain.policies import InvalidText
from kafka_pg_pipeline.pipeline.encode_literals import check_text

# A whole pair, a half one, U+0000, any other escape: the first that fits, from left to right, so
# that the second backslash of an escaped one begins nothing.
_ESCAPES = re.compile(
    rb"(?P<whole>\\u[dD][89abAB]..\\u[dD][c-fC-F]..)"
    rb"|(?P<awkward>\\u(?:[dD][89a-fA-F]..|0000))|\\.",
    re.DOTALL,
)
_AWKWARD = re.compile("[\0\ud800-\udfff]")
_IN_PLACE = {InvalidText.STRIP: "", InvalidText.REPLACE: "\ufffd"}


def repair_document(document: bytes, policy: InvalidText) -> bytes:
    """The JSON document without awkward text in its strings and names, under that policy."""
    if policy is InvalidText.DEAD_LETTER or b"\\u" not in document:
        return document
    in_place = _IN_PLACE[policy].encode()
    return _ESCAPES.sub(lambda found: found[0] if found["awkward"] is None else in_place, document)


def repair_text(text: str, policy: InvalidText) -> str:
    """The text as PostgreSQL can hold it.

    Raises:
        Unfit: it cannot, and the policy is to reject it.
    """
    if policy is InvalidText.DEAD_LETTER:
        return check_text(text)
    return _AWKWARD.sub(_IN_PLACE[policy], text)
