"""The Dagster resource ``aiven``: the services that serve, looked up once in each run."""

import os
import threading
import time

import dagster as dg
from pydantic import Field, PrivateAttr

from kafka_pg_pipeline.assembly.aiven import AivenLookup, build_lookup, open_directory
from kafka_pg_pipeline.ports import ServiceDirectory
from kafka_pg_pipeline.settings.models import AivenSettings

# A sensor looks every few seconds, and Aiven counts calls: it takes an answer for so long, unless
# a server turns out not to be reached with it.
_LATELY_SECONDS = 300.0
# A server that is down stays so for a while; Aiven need not be asked at each tick of it.
_SPARING_SECONDS = 30.0
# A tick must end within 20 s, whatever state Aiven is in.
_PATIENCE_OF_SENSORS_SECONDS = 6.0


class AivenResource(dg.ConfigurableResource):  # type: ignore[type-arg] # no value of its own
    """The project and its services; without ``project`` nothing is asked."""

    project: str = Field("", description="name of the project")
    kafka_service: str = Field("", description="Kafka service that serves")
    postgres_service: str = Field("", description="PostgreSQL service that serves")
    token: str | None = Field(
        None, description="token of the API; give it as EnvVar; else AIVEN_TOKEN", repr=False
    )
    api_url: str = Field("", description="AIVEN_API_URL, else https://api.aiven.io")
    api_cafile: str | None = Field(None, description="PEM file of the API's own CA")
    project_cafile: str | None = Field(None, description="PEM file of the project's CA")
    kafka_user: str | None = Field(None, description="service user of Kafka")
    kafka_authentication: str = Field("certificate", description="certificate or sasl")
    kafka_sasl_mechanism: str = Field("SCRAM-SHA-256", description="where it is sasl")
    postgres_user: str | None = Field(None, description="service user of PostgreSQL")
    postgres_pool: str | None = Field(None, description="connection pool to go through")
    route: str = Field("dynamic", description="which of the services' addresses to use")
    wait_seconds: float = Field(300.0, description="longest wait for a service being rebuilt")

    _lookup: AivenLookup | None = PrivateAttr(default=None)

    def settings(self) -> AivenSettings:
        """What the adapters take.

        Raises:
            pydantic.ValidationError: the fields contradict each other.
        """
        given = {name: getattr(self, name) for name in type(self).model_fields}
        return AivenSettings.model_validate(
            {name: value for name, value in given.items() if value not in (None, "")}
        )

    @property
    def lookup(self) -> AivenLookup:
        """What Aiven says of the services: asked once in a run, when it is first needed."""
        if self._lookup is None:
            self._lookup = build_lookup(self.settings(), os.environ)
        return self._lookup

    def open_directory(self) -> ServiceDirectory:
        """The project as the API shows it; the caller closes it.

        Raises:
            AuthenticationError: no token is given.
            ConfigurationError: no project is named.
        """
        return open_directory(self.settings(), os.environ)

    def use_recent(self) -> None:
        """Take an answer that this process got lately, as a sensor does at each tick."""
        self._lookup = _recent_lookup(self.settings())

    def doubt_recent(self) -> None:
        """Let the next tick ask anew, unless that was done a moment ago."""
        _drop_recent(self.settings())


_recent: dict[str, tuple[float, AivenLookup]] = {}
_lock = threading.Lock()


def _recent_lookup(settings: AivenSettings) -> AivenLookup:
    """The look-up of this process for these settings, whatever token they hold."""
    key = _spell(settings)
    with _lock:
        began, lookup = _recent.get(key, (0.0, None))
        if lookup is None or time.monotonic() - began > _LATELY_SECONDS:
            lookup = build_lookup(
                settings,
                os.environ,
                patience_seconds=_PATIENCE_OF_SENSORS_SECONDS,
                wait_seconds=0.0,
            )
            _recent[key] = (time.monotonic(), lookup)
        return lookup


def _drop_recent(settings: AivenSettings) -> None:
    key = _spell(settings)
    with _lock:
        began, _ = _recent.get(key, (0.0, None))
        if time.monotonic() - began > _SPARING_SECONDS:
            _recent.pop(key, None)


def _spell(settings: AivenSettings) -> str:
    return settings.model_dump_json(exclude={"token"})
