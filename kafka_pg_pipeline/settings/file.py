"""Reads the configuration file; every error names file, line, key and what is allowed."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.settings.messages import explain, is_about_name, locate
from kafka_pg_pipeline.settings.models import PipelineSettings
from kafka_pg_pipeline.settings.parsing import parse_document
from kafka_pg_pipeline.settings.positions import Document, Fault
from kafka_pg_pipeline.settings.secrets import find_secrets
from kafka_pg_pipeline.settings.substitution import substitute

DEFAULT_FILE = Path("pipeline.yaml")
DEMO_FILE = Path(__file__).with_name("demo.yaml")
FILE_VARIABLE = "KAFKA_PG_CONFIG"


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
    chosen = path or _named_in(environment)
    if chosen is None and os.path.lexists(DEFAULT_FILE):
        chosen = DEFAULT_FILE
    if chosen is None:
        return _load(parse_document(_read(DEMO_FILE), "the built-in demo"), None, environment)
    return _load(parse_document(_read(chosen), str(chosen)), chosen.absolute(), environment)


def load_attributes(path: Path, environment: Mapping[str, str]) -> LoadedSettings:
    """As ``load_settings``, from the section ``attributes`` of a component's file.

    Raises:
        ConfigurationError: all that is wrong with the section, a line each.
    """
    document = parse_document(_read(path), str(path), section="attributes")
    return _load(document, path.absolute(), environment)


def _named_in(environment: Mapping[str, str]) -> Path | None:
    named = environment.get(FILE_VARIABLE)
    # Path.expanduser raises where there is no such user.
    return Path(os.path.expanduser(named)) if named else None  # noqa: PTH111


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
        found = "the file is empty" if document.value is None else "this is no section"
        raise ConfigurationError(
            f"{document.name}:{document.lines.get((), 1)}: {found}; the file must hold sections, "
            "as `streams:`"
        )
    secrets, in_clear = find_secrets(document)
    values, unreplaced = substitute(document, environment)
    faults = [*document.faults, *in_clear, *unreplaced]
    directory = path.parent if path else Path.cwd()
    try:
        settings = PipelineSettings.model_validate(values, context={"directory": directory})
    except ValidationError as error:
        faults += _find_faults(document, error, faults)
        raise document.refuse(faults) from None
    if faults:
        raise document.refuse(faults)
    return LoadedSettings(settings, path, MappingProxyType(secrets))


def _find_faults(document: Document, error: ValidationError, told: list[Fault]) -> list[Fault]:
    """What the models say, save of values that could not be read in the first place."""
    unread = {fault.path for fault in told}
    return [
        document.fault(locate(detail), explain(detail))
        for detail in error.errors(include_input=False, include_url=False)
        if is_about_name(detail) or locate(detail) not in unread
    ]
