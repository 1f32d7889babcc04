"""Kafka Connect's logical types and Debezium's semantic types, by the name that a schema gives.

A schema names how a plain value is to be read: an ``int64`` called
``io.debezium.time.MicroTimestamp`` counts microseconds. Here each becomes what PostgreSQL reads
as the same value. Sources: Kafka's ``org.apache.kafka.connect.data``, Debezium's documentation of
its PostgreSQL connector ("Data type mappings"), and records of a real one (``debezium_samples``
among the tests).
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from kafka_pg_pipeline.domain.moments import (
    format_days,
    format_microseconds,
    format_nanoseconds,
    format_time,
)

# What a value becomes: something that msgspec writes as JSON.
Convert = Callable[[Any], Any]
Parameters = Mapping[str, str]

# How Debezium writes PostgreSQL's infinities in microseconds; in milliseconds a thousandth of it.
_INFINITE = {9_223_372_036_825_200_000: "infinity", -9_223_372_036_832_400_000: "-infinity"}
# The length that Debezium gives a bit varying without one.
_ANY_LENGTH = 2_147_483_647
_SIGNED_YEAR = re.compile(r"([+-])(\d{4,})(-.*)", re.DOTALL)


def find_semantic_type(name: str, parameters: Parameters) -> Convert | None:
    """How values of a named type are converted; None where they are what they are.

    Numbers that bytes hold come as bytes, all else as the plain values of the format.
    """
    make = _MAKERS.get(name)
    return None if make is None else make(parameters)


def format_decimal(unscaled: bytes, scale: int) -> msgspec.Raw:
    """A decimal from its two's complement, most significant byte first, as a JSON number."""
    # Decimal takes an integer of any length; int itself writes no more than 4300 digits.
    sign, digits, _ = Decimal(int.from_bytes(unscaled, "big", signed=True)).as_tuple()
    return msgspec.Raw(format(Decimal((sign, digits, -scale)), "f").encode())


def _decimal(parameters: Parameters) -> Convert:
    scale = int(parameters.get("scale", "0"))
    return lambda unscaled: format_decimal(unscaled, scale)


def _variable_scale_decimal(_: Parameters) -> Convert:
    return lambda value: format_decimal(value["value"], value["scale"])


def _local_microseconds(count: int) -> str:
    return _INFINITE.get(count) or format_microseconds(count, zone="")


def _local_milliseconds(count: int) -> str:
    return _local_microseconds(count * 1000)


def _local_nanoseconds(count: int) -> str:
    return format_nanoseconds(count, zone="")


def _bits(parameters: Parameters) -> Convert:
    """The type's length, as bit(n) needs it; that of a single bit varying is lost in Debezium."""
    length = int(parameters.get("length", _ANY_LENGTH))

    def convert(data: bytes) -> str:
        text = format(int.from_bytes(data, "little"), "b")
        return text if length == _ANY_LENGTH else text.zfill(length)

    return convert


def _signed_year(text: str) -> str:
    """A moment as PostgreSQL reads it: years before 1 are BC, and none has a plus sign."""
    match = _SIGNED_YEAR.fullmatch(text)
    if match is None:
        return text
    sign, year, rest = match.groups()
    return f"{year}{rest}" if sign == "+" else f"{int(year) + 1:04d}{rest} BC"


def _point(_: Parameters) -> Convert:
    return lambda value: f"({value['x']},{value['y']})"


def _geometry(_: Parameters) -> Convert:
    """As PostGIS reads it: well-known binary in hexadecimal, behind its reference system."""

    def convert(value: Mapping[str, Any]) -> str:
        wkb = value["wkb"].hex()
        return wkb if value.get("srid") is None else f"SRID={value['srid']};{wkb}"

    return convert


def _always(convert: Convert) -> Callable[[Parameters], Convert]:
    return lambda _: convert


_MAKERS: Mapping[str, Callable[[Parameters], Convert]] = {
    "org.apache.kafka.connect.data.Decimal": _decimal,
    "org.apache.kafka.connect.data.Date": _always(format_days),
    "org.apache.kafka.connect.data.Time": _always(lambda count: format_time(count * 1000)),
    "org.apache.kafka.connect.data.Timestamp": _always(_local_milliseconds),
    "io.debezium.time.Date": _always(format_days),
    "io.debezium.time.Time": _always(lambda count: format_time(count * 1000)),
    "io.debezium.time.MicroTime": _always(format_time),
    "io.debezium.time.NanoTime": _always(lambda count: format_time(count // 1000)),
    "io.debezium.time.Timestamp": _always(_local_milliseconds),
    "io.debezium.time.MicroTimestamp": _always(_local_microseconds),
    "io.debezium.time.NanoTimestamp": _always(_local_nanoseconds),
    "io.debezium.time.ZonedTimestamp": _always(_signed_year),
    "io.debezium.time.IsoDate": _always(_signed_year),
    "io.debezium.time.IsoTimestamp": _always(_signed_year),
    "io.debezium.time.MicroDuration": _always(lambda count: f"{count} microseconds"),
    "io.debezium.time.NanoDuration": _always(lambda count: f"{count // 1000} microseconds"),
    "io.debezium.data.VariableScaleDecimal": _variable_scale_decimal,
    "io.debezium.data.Bits": _bits,
    "io.debezium.data.Json": _always(lambda text: msgspec.Raw(text.encode())),
    "io.debezium.data.geometry.Point": _point,
    "io.debezium.data.geometry.Geometry": _geometry,
    "io.debezium.data.geometry.Geography": _geometry,
}
