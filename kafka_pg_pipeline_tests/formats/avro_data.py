"""Avro values of any type: how fastavro's writer takes them, and the JSON they should become.

What is expected is worked out by Python's own dates and decimals, and only for their range.
"""

import io
import itertools
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from math import isinf, isnan
from typing import Any, NamedTuple
from uuid import UUID

import fastavro
from hypothesis import strategies as st

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECONDS = (
    (datetime(1, 1, 1, tzinfo=timezone.utc) - _EPOCH) // timedelta(microseconds=1),
    (datetime(9999, 12, 31, tzinfo=timezone.utc) - _EPOCH) // timedelta(microseconds=1),
)
_INT, _LONG = 2**31, 2**63


class Sample(NamedTuple):
    """``document`` has the texts of numbers as strings, as ``read_json`` gives them."""

    schema: Any
    value: Any
    document: Any


def write_avro(schema: Any, value: Any) -> bytes:
    """The value's bytes, without a header."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return stream.getvalue()


def read_json(document: bytes | None) -> Any:
    """The document, each number as the text that stands there."""
    assert document is not None
    return json.loads(document, parse_int=str, parse_float=str, parse_constant=_refuse)


def samples() -> st.SearchStrategy[Sample]:
    return st.recursive(st.one_of(_leaves()), _composites, max_leaves=6).map(_name_types)


def _refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


class _Float:
    """Equal to any text of the number."""

    def __init__(self, number: float) -> None:
        self._number = number

    def __repr__(self) -> str:
        return repr(self._number)

    def __eq__(self, text: object) -> bool:
        return isinstance(text, str) and float(text) == self._number

    __hash__ = None  # type: ignore[assignment]


def _leaves() -> Iterator[st.SearchStrategy[Sample]]:
    integers = st.integers(-_INT, _INT - 1)
    yield st.just(Sample("null", None, None))
    yield st.booleans().map(lambda v: Sample("boolean", v, v))
    yield integers.map(lambda v: Sample("int", v, str(v)))
    yield st.integers(-_LONG, _LONG - 1).map(lambda v: Sample("long", v, str(v)))
    yield st.floats(width=32).map(lambda v: Sample("float", v, _float(v)))
    yield st.floats().map(lambda v: Sample("double", v, _float(v)))
    yield st.text().map(lambda v: Sample("string", v, v))
    yield st.binary().map(lambda v: Sample("bytes", v, "\\x" + v.hex()))
    yield st.binary(min_size=3, max_size=3).map(
        lambda v: Sample({"type": "fixed", "name": "", "size": 3}, v, "\\x" + v.hex())
    )
    yield st.sampled_from(["A", "B"]).map(
        lambda v: Sample({"type": "enum", "name": "", "symbols": ["A", "B"]}, v, v)
    )
    yield st.tuples(st.integers(-(10**30), 10**30), st.integers(0, 30)).map(_decimal)
    yield st.uuids().map(
        lambda v: Sample({"type": "string", "logicalType": "uuid"}, str(v), str(v))
    )
    yield st.uuids().map(_fixed_uuid)
    yield st.tuples(*[st.integers(0, 2**32 - 1)] * 3).map(_duration)
    yield from _moments()


def _float(number: float) -> Any:
    if isnan(number):
        return "NaN"
    if isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return _Float(number)


def _decimal(parts: tuple[int, int]) -> Sample:
    unscaled, scale = parts
    schema = {"type": "bytes", "logicalType": "decimal", "precision": 40, "scale": scale}
    digits = Decimal(unscaled).as_tuple()
    number = Decimal((digits.sign, digits.digits, -scale))
    data = unscaled.to_bytes(16, "big", signed=True)
    return Sample(schema, data, format(number, "f"))


def _fixed_uuid(value: UUID) -> Sample:
    schema = {"type": "fixed", "name": "", "size": 16, "logicalType": "uuid"}
    return Sample(schema, value.bytes, str(value))


def _duration(parts: tuple[int, ...]) -> Sample:
    schema = {"type": "fixed", "name": "", "size": 12, "logicalType": "duration"}
    data = b"".join(part.to_bytes(4, "little") for part in parts)
    months, days, milliseconds = parts
    return Sample(schema, data, f"{months} months {days} days {milliseconds} milliseconds")


def _moments() -> Iterator[st.SearchStrategy[Sample]]:
    low, high = _MICROSECONDS
    days = st.integers(low // 86_400_000_000, high // 86_400_000_000)
    yield days.map(
        lambda v: Sample(
            {"type": "int", "logicalType": "date"}, v, f"{_EPOCH + timedelta(v):%Y-%m-%d}".zfill(10)
        )
    )
    yield st.integers(0, 86_399_999).map(
        lambda v: Sample({"type": "int", "logicalType": "time-millis"}, v, _time(v * 1000))
    )
    yield st.integers(0, 86_399_999_999).map(
        lambda v: Sample({"type": "long", "logicalType": "time-micros"}, v, _time(v))
    )
    for prefix, zone in (("", "+00"), ("local-", "")):
        yield st.integers(low // 1000, high // 1000).map(
            lambda v, prefix=prefix, zone=zone: Sample(
                {"type": "long", "logicalType": f"{prefix}timestamp-millis"},
                v,
                _timestamp(v * 1000) + zone,
            )
        )
        yield st.integers(low, high).map(
            lambda v, prefix=prefix, zone=zone: Sample(
                {"type": "long", "logicalType": f"{prefix}timestamp-micros"},
                v,
                _timestamp(v) + zone,
            )
        )
        yield st.integers(-_LONG, _LONG - 1).map(
            lambda v, prefix=prefix, zone=zone: Sample(
                {"type": "long", "logicalType": f"{prefix}timestamp-nanos"}, v, _nanos(v) + zone
            )
        )


def _time(microseconds: int) -> str:
    return _timestamp(microseconds).partition(" ")[2]


def _timestamp(microseconds: int) -> str:
    precision = "microseconds" if microseconds % 1000 else "milliseconds"
    return _naive(microseconds).isoformat(" ", precision)


def _naive(microseconds: int) -> datetime:
    return (_EPOCH + timedelta(microseconds=microseconds)).replace(tzinfo=None)


def _nanos(nanoseconds: int) -> str:
    microseconds, rest = divmod(nanoseconds, 1000)
    if not rest:
        return _timestamp(microseconds)
    return _naive(microseconds).isoformat(" ", "microseconds") + f"{rest:03d}"


def _composites(inner: st.SearchStrategy[Sample]) -> st.SearchStrategy[Sample]:
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(_record),
        inner.flatmap(_array),
        inner.flatmap(_map),
        inner.filter(lambda sample: not isinstance(sample.schema, list)).flatmap(_nullable),
    )


def _record(samples: list[Sample]) -> Sample:
    fields = [{"name": f"f{n}", "type": sample.schema} for n, sample in enumerate(samples)]
    return Sample(
        {"type": "record", "name": "", "fields": fields},
        {f"f{n}": sample.value for n, sample in enumerate(samples)},
        {f"f{n}": sample.document for n, sample in enumerate(samples)},
    )


def _array(sample: Sample) -> st.SearchStrategy[Sample]:
    schema = {"type": "array", "items": sample.schema}
    return st.integers(0, 3).map(
        lambda n: Sample(schema, [sample.value] * n, [sample.document] * n)
    )


def _map(sample: Sample) -> st.SearchStrategy[Sample]:
    schema = {"type": "map", "values": sample.schema}
    return st.sets(st.text(), max_size=3).map(
        lambda keys: Sample(
            schema, dict.fromkeys(keys, sample.value), dict.fromkeys(keys, sample.document)
        )
    )


def _nullable(sample: Sample) -> st.SearchStrategy[Sample]:
    if sample.schema == "null":
        return st.just(sample)
    schema = ["null", sample.schema]
    return st.sampled_from([Sample(schema, None, None), sample._replace(schema=schema)])


def _name_types(sample: Sample) -> Sample:
    counter = itertools.count()
    return sample._replace(schema=_name_type(sample.schema, counter))


def _name_type(schema: Any, counter: Iterator[int]) -> Any:
    """The schema with a name of its own for each type that needs one."""
    if isinstance(schema, list):
        return [_name_type(branch, counter) for branch in schema]
    if not isinstance(schema, Mapping):
        return schema
    named = {**schema, "name": f"T{next(counter)}"} if "name" in schema else dict(schema)
    for key in ("items", "values"):
        if key in named:
            named[key] = _name_type(named[key], counter)
    if "fields" in named:
        named["fields"] = [
            {**field, "type": _name_type(field["type"], counter)} for field in named["fields"]
        ]
    return named
