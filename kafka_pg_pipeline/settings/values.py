"""What single values of the file may be: how they are checked, and what editors are told."""

import os
import re
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from kafka_pg_pipeline.domain.tables import MetadataField


def _text(pattern: str, words: str) -> Any:
    """A pattern, and the words for it; editors show ``patternErrorMessage``."""
    return Field(pattern=pattern, json_schema_extra={"patternErrorMessage": words})


NonEmpty = Annotated[str, Field(min_length=1)]

# -- assets ----------------------------------------------------------------------------------------

# As Dagster checks them: a person by e-mail, or a team.
Owner = Annotated[
    str,
    _text(
        r"^(team:.+|[A-Za-z0-9_][A-Za-z0-9._%+-]*@[A-Za-z0-9.-]+\.[A-Za-z]{2,7})$",
        "an e-mail address, or team:NAME",
    ),
]
GroupName = Annotated[
    str,
    _text(r"^[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*$", "a name of letters, digits and _; / for subgroups"),
]
TagKey = Annotated[
    str,
    _text(
        r"^([A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63}$",
        "letters, digits, '_', '-' and '.', 63 at most; a prefix and / may come before",
    ),
]
TagValue = Annotated[
    str,
    _text(r"^[A-Za-z0-9_.-]{0,63}$", "letters, digits, '_', '-' and '.', 63 at most"),
]

# -- names -----------------------------------------------------------------------------------------

STREAM_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"
STREAM_WORDS = "a name of lower-case letters, digits and _ that begins with a letter, 63 at most"
StreamName = Annotated[str, Field(pattern=STREAM_PATTERN)]

# Kafka refuses the names "." and "..".
TopicName = Annotated[
    str,
    Field(max_length=249),
    _text(
        r"^([A-Za-z0-9_-]|\.[A-Za-z0-9_-]|\.\.[A-Za-z0-9._-])[A-Za-z0-9._-]*$",
        "a topic of letters, digits, '.', '_' and '-', 249 at most",
    ),
]

_IDENTIFIER = r'[^."\x00-\x1f][^.\x00-\x1f]{0,62}'
TableText = Annotated[
    str,
    _text(
        rf"^({_IDENTIFIER}\.)?{_IDENTIFIER}$",
        "schema.name, or name alone; without quotes, 63 characters each at most",
    ),
]

SchemaName = Annotated[
    str,
    _text(r"^[a-z_][a-z0-9_]{0,62}$", "a name of lower-case letters, digits and _, 63 at most"),
]

_CRON_FIELD = r"[0-9A-Za-z*/,#?()-]+"
CronText = Annotated[
    str,
    _text(
        r"^\s*(@(hourly|midnight|daily|weekly|monthly|yearly|annually)|"
        rf"{_CRON_FIELD}(\s+{_CRON_FIELD}){{4}})\s*$",
        'five fields as "*/5 * * * *", or @hourly, @daily, @weekly, @monthly, @yearly',
    ),
]


# -- references and secrets ------------------------------------------------------------------------

# What editors accept wherever a number or a word is expected.
REFERENCE = r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"
LONE_REFERENCE = r"^\$\{([A-Za-z_][A-Za-z0-9_]*)(:-)?\}$"
Secret = Annotated[
    SecretStr,
    WithJsonSchema(
        {
            "type": "string",
            "writeOnly": True,
            "pattern": LONE_REFERENCE,
            "patternErrorMessage": "${NAME}, the name of an environment variable",
        }
    ),
]


# -- places ----------------------------------------------------------------------------------------


def _resolve(path: Path, info: ValidationInfo) -> Path:
    directory = (info.context or {}).get("directory")
    return Path(directory) / os.path.expanduser(path) if directory else path  # noqa: PTH111 - Path's own raises where there is no such user


FilePath = Annotated[Path, AfterValidator(_resolve)]


def _refuse_address(host: str) -> str:
    # A URI may hold a password, and hosts are shown in messages.
    if "://" in host:
        raise ValueError("a URI is no host: name its parts as host, port, user and dbname")
    return host


Host = Annotated[str, AfterValidator(_refuse_address)]


def _refuse_login(url: str) -> str:
    # It is shown in messages.
    if "@" in url:
        raise ValueError("a login has keys of its own: username and password")
    return url


RegistryUrl = Annotated[
    str,
    AfterValidator(_refuse_login),
    _text(r"^(https?://[^/\s]+(/\S*)?)?$", "an address as https://registry.example.com:8081"),
]

AivenUrl = Annotated[
    str,
    AfterValidator(_refuse_login),
    _text(
        r"^(https://[^/\s]+|http://(127\.0\.0\.1|localhost)(:[0-9]+)?)?(/v1)?/?$",
        "an address as https://api.aiven.io, without a path",
    ),
]

PageUrl = Annotated[
    str,
    AfterValidator(_refuse_login),
    _text(r"^(https?://[^/\s]+(/\S*)?)?$", "an address as https://dagster.example.com"),
]


# -- sizes -----------------------------------------------------------------------------------------

_SIZE = r"^([0-9][0-9_]{0,18}(\.[0-9]{1,9})?) ?(([KkMmGg]i?)?[Bb])?$"
_SIZE_WORDS = "a size from 1KiB to 1GiB: bytes, or with a unit as 64MiB"
_UNITS = {
    "": 1,
    "k": 1000,
    "m": 1000**2,
    "g": 1000**3,
    "ki": 1024,
    "mi": 1024**2,
    "gi": 1024**3,
}
_LEAST_BATCH, _LARGEST_BATCH = _UNITS["ki"], _UNITS["gi"]


def _parse_size(value: Any) -> Any:
    match = re.fullmatch(_SIZE, value) if isinstance(value, str) else None
    if match is None:
        return value
    return int(Decimal(match[1]) * _UNITS[(match[4] or "").lower()])


BatchBytes = Annotated[
    int,
    BeforeValidator(_parse_size),
    Field(ge=_LEAST_BATCH, le=_LARGEST_BATCH),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": _LEAST_BATCH, "maximum": _LARGEST_BATCH},
                {"type": "string", "pattern": _SIZE, "patternErrorMessage": _SIZE_WORDS},
            ],
            "patternErrorMessage": _SIZE_WORDS,
        }
    ),
]


# -- lanes -----------------------------------------------------------------------------------------

_MOST_LANES = 64
# None is auto.
Lanes = Annotated[
    Annotated[int, Field(ge=1, le=_MOST_LANES)] | None,
    BeforeValidator(lambda value: None if value == "auto" else value),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": ["auto"]},
                {"type": "integer", "minimum": 1, "maximum": _MOST_LANES},
            ]
        }
    ),
]


# -- where a new stream starts ---------------------------------------------------------------------

_STARTS = ("earliest", "latest")
_MOMENT = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
    r"([Zz]|[+-][0-9]{2}:?[0-9]{2})$"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}")


def _parse_start(value: Any) -> Any:
    if value in _STARTS:
        return value
    if isinstance(value, str):
        if re.fullmatch(_MOMENT, value):
            return TypeAdapter(datetime).validate_python(value)
        if _DATE.match(value):
            raise ValueError("a time needs hours, minutes and its zone")
    elif isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time needs its zone")
        return value
    raise ValueError("this value is not known")


Start = Annotated[
    Literal["earliest", "latest"] | datetime,
    BeforeValidator(_parse_start),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": list(_STARTS)},
                {
                    "type": "string",
                    "pattern": _MOMENT,
                    "patternErrorMessage": "a time with its zone, as 2026-01-31T12:00:00Z",
                },
            ]
        }
    ),
]


def _parse_day(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(_DAY, value):
        raise ValueError("a day is written as 2026-01-31")
    return value


_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
Day = Annotated[
    date,
    BeforeValidator(_parse_day),
    WithJsonSchema(
        {"type": "string", "pattern": _DAY, "patternErrorMessage": "a day, as 2026-01-31"}
    ),
]


# -- columns ---------------------------------------------------------------------------------------

TransformName = Annotated[
    str,
    _text(
        r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$",
        "module:function, such as my_package.rows:to_row",
    ),
]


# -- metadata --------------------------------------------------------------------------------------

_ATTRIBUTES = ", ".join(field.value for field in MetadataField)
_list_attributes = TypeAdapter(list[MetadataField]).validate_python


def _name_columns(value: Any, validate: ValidatorFunctionWrapHandler) -> dict[MetadataField, str]:
    """A list of attributes names the columns by itself."""
    if isinstance(value, list):
        fields = _list_attributes(value)
        if len(set(fields)) < len(fields):
            raise ValueError("an attribute stands twice")
        value = {field: f"kafka_{field.value}" for field in fields}
    named: dict[MetadataField, str] = validate(value)
    return named


Metadata = Annotated[
    dict[MetadataField, NonEmpty],
    WrapValidator(_name_columns),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "array",
                    "items": {"type": "string", "enum": [field.value for field in MetadataField]},
                    "uniqueItems": True,
                },
                {
                    "type": "object",
                    "properties": {
                        field.value: {"type": "string", "minLength": 1} for field in MetadataField
                    },
                    "additionalProperties": False,
                },
            ],
            "patternErrorMessage": f"a list of {_ATTRIBUTES}; or a section `attribute: column`",
        }
    ),
]
