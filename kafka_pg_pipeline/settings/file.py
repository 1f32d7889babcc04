"""Reads the configuration file; every error names file, line, key and what is allowed."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.settings.models import PipelineSettings
from kafka_pg_pipeline.settings.positions import Document, parse_document
from kafka_pg_pipeline.settings.substitution import ONE_REFERENCE, substitute

DEFAULT_FILE = Path("pipeline.yaml")
FILE_VARIABLE = "KAFKA_PG_CONFIG"
_SECRETS = (("postgres", "password"), ("kafka", "sasl_password"))


@dataclass(frozen=True)
class LoadedSettings:
    """The settings, the file they came from (None: the built-in demo), and who holds the secrets.

    ``secret_variables`` names the environment variable behind each secret key, such as
    ``postgres.password``: Dagster is given the name, never the value.
    """

    settings: PipelineSettings
    path: Path | None
    secret_variables: Mapping[str, str]


def load_settings(path: Path | None, environment: Mapping[str, str]) -> LoadedSettings:
    """Read the file that was named, or KAFKA_PG_CONFIG, or pipeline.yaml, or the built-in demo.

    Raises:
        ConfigurationError: all that is wrong with the file, a line each.
    """
    named = path or (Path(environment[FILE_VARIABLE]) if environment.get(FILE_VARIABLE) else None)
    chosen = named or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    if chosen is None:
        text = (resources.files(__package__) / "demo.yaml").read_text("utf-8")
        return _load(parse_document(text, "the built-in demo"), None, environment)
    return _load(parse_document(_read(chosen), str(chosen)), chosen.absolute(), environment)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: there is no such file; name one with -c or {FILE_VARIABLE}, "
            "or leave both out to run the built-in demo"
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: the file is not UTF-8 text") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None


def _load(document: Document, path: Path | None, environment: Mapping[str, str]) -> LoadedSettings:
    if not isinstance(document.value, dict):
        raise ConfigurationError(f"{document.name}:1: the file must hold sections, as `streams:`")
    secrets = _secret_variables(document)
    values = substitute(document, environment)
    try:
        settings = PipelineSettings.model_validate(
            values, context={"directory": path.parent if path else Path.cwd()}
        )
    except ValidationError as error:
        found = sorted(
            (_describe(document, detail) for detail in error.errors(include_input=False)),
        )
        raise ConfigurationError("\n".join(line for _, line in found)) from None
    return LoadedSettings(settings, path, MappingProxyType(secrets))


def _secret_variables(document: Document) -> dict[str, str]:
    variables = {}
    for section, key in _SECRETS:
        value = (document.value.get(section) or {}).get(key)
        if value is None:
            continue
        match = ONE_REFERENCE.fullmatch(str(value))
        if match is None:
            raise ConfigurationError(
                f"{document.where((section, key))}: secrets do not belong into the file: write "
                f"{key}: ${{NAME}} and set that environment variable"
            )
        variables[f"{section}.{key}"] = match[1]
    return variables


def _describe(document: Document, detail: ErrorDetails) -> tuple[int, str]:
    path = tuple(part for part in detail["loc"] if part != "[key]")
    message = _MESSAGES.get(detail["type"], _said)(detail, path)
    return document.line(path), f"{document.where(path)}: {message}"


def _said(detail: ErrorDetails, _: tuple[Any, ...]) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def _unknown_key(_: ErrorDetails, path: tuple[Any, ...]) -> str:
    allowed = _allowed_keys(path[:-1])
    near = difflib.get_close_matches(str(path[-1]), allowed, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"this key is not known; {hint}allowed: {', '.join(allowed)}"


def _missing(_: ErrorDetails, __: tuple[Any, ...]) -> str:
    return "this key is needed"


def _not_allowed(detail: ErrorDetails, _: tuple[Any, ...]) -> str:
    return f"this value is not known; allowed: {detail.get('ctx', {}).get('expected')}"


_MESSAGES = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "literal_error": _not_allowed,
    "enum": _not_allowed,
}


def _allowed_keys(path: tuple[Any, ...]) -> list[str]:
    """Keys of the section at the path, by walking the models."""
    kind: Any = PipelineSettings
    for part in path:
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]  # the part is a name that the user chose
        elif _is_model(kind):
            fields = {field.alias or name: field for name, field in kind.model_fields.items()}
            kind = fields[part].annotation if part in fields else None
        kind = next(filter(_is_model, get_args(kind)), kind) if _is_union(kind) else kind
    if not _is_model(kind):
        return []
    return [field.alias or name for name, field in kind.model_fields.items()]


def _is_union(kind: Any) -> bool:
    return type(None) in get_args(kind)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
