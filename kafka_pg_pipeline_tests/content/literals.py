"""Strategies of JSON text: whatever a producer can send, and text shaped for one type."""

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

Literals = st.SearchStrategy[str]


def tries(most: int) -> settings:
    """Settings of a property that writes a batch at each try: few, and the same each time.

    A failure names the value, so that nothing is shrunk: a minute for each type that failed.
    """
    return settings(
        max_examples=most,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


_LIMITS = [2**15, 2**31, 2**53, 2**63, 2**64, 2**128]
_NUMBERS = [
    "-0",
    "0.0",
    "-0.0",
    "0e999999",
    "1.0",
    "1e3",
    "1E+3",
    "1.5e1",
    "1e-3",
    "1e-400",
    "-1e-400",
    "1e400",
    "1e20000",
    "1e131071",
    "1e131072",
    "1e200000",
    "1e-16383",
    "1e-16384",
    "1e99999999999999999999",
    "1e-999999999999",
    "9" * 400,
    "9" * 5000,
    "0." + "7" * 5000,
    "12345678901234567890.123456789012345678",
    "9223372036854775807.0",
    "9007199254740993",
    "9007199254740993.0",
    "2.4703282292062327e-324",
    "2.4703282292062328e-324",
    "1.7976931348623158e308",
    "1.7976931348623159e308",
    "3.4028235677973366e38",
    "1e-46",
    "1700000000123",
    "1700000000123.456",
    "1700000000123.4567",
    "9224318015999999",
    "9224318016000000",
    "-210866803200000",
    "-210866803200001",
]
_STRINGS = [
    r'"\u0000"',
    r'"a\u0000b"',
    r'"\ud800"',
    r'"\udc00\ud800"',
    r'"\ud83d\ude00"',
    r'"\\N"',
    r'"\\."',
    r'"\t\n\r\\\b\f\/\""',
    r'"\\x00fF"',
    r'"\\x0"',
    r'"\\000"',
    '""',
    '" "',
    '"NULL"',
    '"null"',
    '"true"',
    '"NaN"',
    '"-Infinity"',
    '" 12 "',
    '"+7"',
    '".5"',
    '"1e3"',
    '"1_000"',
    '"0x1F"',
    '"１２"',
    '"infinity"',
    '"{}"',
    '"{1,2}"',
    '"%s"',
    '"--"',
]
_SPACES = st.sampled_from(["", "", " ", "\t", "\n  ", "\r\n"])


def _write_string(text: str, escaping: int) -> str:
    if escaping == 0:
        return json.dumps(text, ensure_ascii=False)
    if escaping == 1:
        return json.dumps(text)
    units = text.encode("utf-16-be")
    pairs = (units[index : index + 2].hex() for index in range(0, len(units), 2))
    return '"' + "".join(f"\\u{pair}" for pair in pairs) + '"'


def strings(texts: st.SearchStrategy[Any]) -> Literals:
    """Texts as JSON strings: plain, with the escapes needed, or nothing but escapes."""
    return st.builds(_write_string, texts.map(str), st.integers(0, 2))


def one_of_strings(*texts: str) -> Literals:
    return strings(st.sampled_from(texts))


def numbers() -> Literals:
    written = st.from_regex(
        r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        fullmatch=True,
        alphabet=st.characters(codec="ascii"),
    )
    near = st.builds(lambda limit, by: limit + by, st.sampled_from(_LIMITS), st.integers(-2, 2))
    signed = st.builds(lambda number, sign: sign * number, near, st.sampled_from([1, -1]))
    return st.one_of(
        st.integers().map(str),
        signed.map(str),
        st.floats(allow_nan=False, allow_infinity=False).map(repr),
        written,
        st.sampled_from(_NUMBERS),
    )


def scalars() -> Literals:
    return st.one_of(
        numbers(),
        strings(st.text(max_size=12)),
        st.sampled_from(_STRINGS),
        st.sampled_from(["null", "true", "false"]),
    )


def documents(leaves: Literals | None = None) -> Literals:
    return st.recursive(leaves or scalars(), _containers, max_leaves=6)


def arrays(elements: Literals) -> Literals:
    return st.builds(_write_array, st.lists(elements, max_size=4), _SPACES)


def anything() -> Literals:
    """Every kind of JSON value."""
    return st.one_of(scalars(), documents())


def _containers(inside: Literals) -> Literals:
    names = st.one_of(strings(st.text(max_size=3)), st.sampled_from(['"k"', '"k"', r'"\u0000"']))
    members = st.lists(st.tuples(names, inside), max_size=3)
    return st.one_of(arrays(inside), st.builds(_write_object, members, _SPACES))


def _write_array(elements: Iterable[str], space: str) -> str:
    return f"[{space}" + f"{space},".join(elements) + f"{space}]"


def _write_object(members: Iterable[tuple[str, str]], space: str) -> str:
    pairs = f",{space}".join(f"{name}{space}:{value}" for name, value in members)
    return f"{{{space}{pairs}}}"
