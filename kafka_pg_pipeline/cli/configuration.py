"""Which file, which servers and which streams a command works with."""

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kafka_pg_pipeline.assembly.aiven import find_secrets
from kafka_pg_pipeline.assembly.endpoints import Endpoints, resolve_endpoints
from kafka_pg_pipeline.cli.invocation import Invocation
from kafka_pg_pipeline.cli.logs import keep_secret
from kafka_pg_pipeline.domain.windows import parse_window
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.pipeline.window import settings_of
from kafka_pg_pipeline.settings.file import LoadedSettings, load_settings
from kafka_pg_pipeline.settings.models import (
    KafkaSettings,
    PostgresSettings,
    SchemaRegistrySettings,
    StreamSettings,
)


@dataclass(frozen=True)
class Pipeline:
    """A command's configuration: what was read, and the servers it leads to."""

    loaded: LoadedSettings
    endpoints: Endpoints

    def select(self, names: Sequence[str]) -> dict[str, StreamSettings]:
        """The streams named, or all; in the order of the file.

        Raises:
            ConfigurationError: there is no such stream; the message names near ones.
        """
        return select_streams(self.loaded, names)

    def find(self, name: str) -> StreamSettings:
        """The stream of that name, or the window of a stream as one.

        Raises:
            ConfigurationError: there is no such stream.
        """
        window = parse_window(name)
        if window is None:
            return self.select([name])[name]
        return settings_of(window, self.select([window.stream])[window.stream])


def read_configuration(invocation: Invocation) -> LoadedSettings:
    """Read the file, or take the built-in demo where none is named.

    Raises:
        ConfigurationError: naming file, line, key and what is allowed there.
    """
    named = Path(invocation.config).expanduser() if invocation.config else None
    loaded = load_settings(named, os.environ)
    for name in loaded.secret_variables.values():
        keep_secret(os.environ.get(name))
    keep_secret(os.environ.get("AIVEN_TOKEN"))
    settings = loaded.settings
    keep_server_secrets(settings.kafka, settings.postgres, settings.schema_registry)
    return loaded


def open_pipeline(invocation: Invocation) -> Pipeline:
    """The configuration and both servers' names; connects to nothing.

    Raises:
        ConfigurationError: see ``read_configuration`` and ``resolve_endpoints``.
    """
    return use_configuration(read_configuration(invocation))


def use_configuration(loaded: LoadedSettings) -> Pipeline:
    """A configuration that was read, with the servers it leads to; connects to nothing.

    Raises:
        ConfigurationError: see ``resolve_endpoints``.
    """
    return Pipeline(loaded, find_endpoints(loaded))


def find_endpoints(loaded: LoadedSettings) -> Endpoints:
    """The servers that a configuration leads to; connects to none, and may ask Aiven.

    Raises:
        PipelineError: see ``resolve_endpoints``.
    """
    endpoints = resolve_endpoints(loaded.settings, os.environ)
    keep_server_secrets(endpoints.kafka, endpoints.postgres, endpoints.schema_registry)
    return endpoints


def keep_server_secrets(
    kafka: KafkaSettings, postgres: PostgresSettings, registry: SchemaRegistrySettings
) -> None:
    """Let no message show the servers' passwords, whoever wrote it."""
    for secret in find_secrets(kafka, postgres, registry):
        keep_secret(secret)


def select_streams(loaded: LoadedSettings, names: Sequence[str]) -> dict[str, StreamSettings]:
    """The streams named, or all, in the order of the file.

    Raises:
        ConfigurationError: there is no such stream; the message names near ones.
    """
    streams = loaded.settings.streams
    for name in names:
        if name not in streams:
            near = difflib.get_close_matches(name, streams, n=3)
            hint = (
                f"did you mean {' or '.join(map(repr, near))}?"
                if near
                else f"it has {', '.join(map(repr, streams)) or 'none'}"
            )
            where = describe_source(loaded)
            raise ConfigurationError(f"no stream {name!r} in {where}: {hint}")
    return {name: stream for name, stream in streams.items() if not names or name in names}


def describe_source(loaded: LoadedSettings) -> str:
    """The file's path, or that it is the built-in demo."""
    return str(loaded.path) if loaded.path is not None else "the built-in demo configuration"
