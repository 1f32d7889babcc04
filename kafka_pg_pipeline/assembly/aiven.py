"""Asks Aiven how the servers are reached: once for a run, and again once that does not work."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from pydantic import SecretStr, ValidationError
from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_delay, wait_fixed

from kafka_pg_pipeline.assembly.aiven_servers import (
    build_kafka,
    build_postgres,
    build_registry,
    choose_user,
)
from kafka_pg_pipeline.domain.services import Service, ServiceState, ServiceUser
from kafka_pg_pipeline.errors import (
    AivenUnavailableError,
    ConfigurationError,
    ServicePoweredOffError,
)
from kafka_pg_pipeline.ports import ServiceDirectory
from kafka_pg_pipeline.settings.discovered import DiscoveredKafka, DiscoveredPostgres
from kafka_pg_pipeline.settings.models import (
    AivenSettings,
    KafkaSettings,
    PostgresSettings,
    SchemaRegistrySettings,
)

DEFAULT_URL = "https://api.aiven.io"
PATIENCE_SECONDS = 90.0
_POLL_SECONDS = 5.0
_VARIABLES = {
    "token": "AIVEN_TOKEN",
    "api_url": "AIVEN_API_URL",
    "api_cafile": "AIVEN_CA_CERT",
    "project_cafile": "AIVEN_PROJECT_CA_PATH",
}

OpenDirectory = Callable[[], ServiceDirectory]

_log = logging.getLogger(__name__)


def complete_settings(settings: AivenSettings, environment: Mapping[str, str]) -> AivenSettings:
    """Take from the environment what the file leaves open.

    Raises:
        ConfigurationError: AIVEN_API_URL is no address.
    """
    found = {
        name: environment[variable]
        for name, variable in _VARIABLES.items()
        if not getattr(settings, name) and environment.get(variable)
    }
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    try:
        return AivenSettings.model_validate({**given, **found})
    except ValidationError as error:
        names = {_VARIABLES.get(str(detail["loc"][-1]), "AIVEN_…") for detail in error.errors()}
        raise ConfigurationError(
            f"{', '.join(sorted(names))}: this is no address of an API; allowed: "
            "https://api.aiven.io, or another https:// host without a path"
        ) from None


def open_directory(
    settings: AivenSettings,
    environment: Mapping[str, str],
    *,
    patience_seconds: float = PATIENCE_SECONDS,
) -> ServiceDirectory:
    """The project as the API shows it; asks nothing yet. The caller closes it.

    Raises:
        AuthenticationError: no token is given.
        ConfigurationError: no project is named, or AIVEN_API_URL is no address.
    """
    # What speaks HTTP takes a tenth of a second to import, and few pipelines need it.
    from kafka_pg_pipeline.adapters.aiven.client import AivenApi
    from kafka_pg_pipeline.adapters.aiven.directory import AivenDirectory

    if not settings.project:
        raise ConfigurationError(
            "no Aiven project is named: write aiven.project into the configuration file"
        )
    settings = complete_settings(settings, environment)
    token = settings.token.get_secret_value() if settings.token else ""
    api = AivenApi(
        token,
        url=settings.api_url or DEFAULT_URL,
        cafile=settings.api_cafile,
        patience_seconds=patience_seconds,
    )
    cafile = Path(settings.project_cafile) if settings.project_cafile else None
    return AivenDirectory(api, settings.project, cafile=cafile)


def insist_on_usable(service: Service, project: str) -> None:
    """Say what a service's state means.

    Raises:
        AivenUnavailableError: it is being rebuilt.
        ServicePoweredOffError: it does not run.
    """
    where = f"the Aiven service {service.name!r} of project {project!r}"
    if service.state is ServiceState.RUNNING:
        return
    if service.state is ServiceState.REBALANCING:
        _log.warning("%s is REBALANCING: it serves, and may be slower for a while", where)
        return
    if service.state is ServiceState.REBUILDING:
        raise AivenUnavailableError(
            f"{where} is REBUILDING and not ready yet; nothing was moved, a later run continues "
            "(aiven.wait_seconds says how long a run waits for it)"
        )
    if service.state is ServiceState.POWEROFF:
        cure = (
            f"power it on in the console, or with `avn service update {service.name} --power-on`. "
            "A Kafka that was powered off has lost its topics"
        )
        raise ServicePoweredOffError(f"{where} is powered off: {cure}")
    raise ServicePoweredOffError(
        f"{where} is in the state {service.state_word!r}, which this version does not know: look "
        "at it in Aiven's console"
    )


class AivenLookup:
    """The services of one project, each asked for once; safe for threads.

    Args:
        settings: Which services, users, route.
        open_directory: Opens the directory; it is closed after each look-up.
        wait_seconds: How long to wait for a service that is being rebuilt.
        sleep: Waits between two looks at such a service.
    """

    def __init__(
        self,
        settings: AivenSettings,
        open_directory: OpenDirectory,
        *,
        wait_seconds: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = settings
        self._open = open_directory
        self._wait_seconds = settings.wait_seconds if wait_seconds is None else wait_seconds
        self._sleep = sleep
        self._lock = threading.RLock()
        self._services: dict[str, Service] = {}
        self._ca: str | None = None

    def fetch_kafka(self, base: KafkaSettings) -> DiscoveredKafka:
        """How to reach Kafka; ``base`` is what the file says beside.

        Raises:
            AivenUnavailableError, AuthenticationError, ConfigurationError,
            ServicePoweredOffError: see ServiceDirectory and ``insist_on_usable``.
        """
        service = self.fetch_service(self.settings.kafka_service)
        _insist_on_kind(service, "kafka_service", "Kafka", fits=service.is_kafka)
        user = self._complete_user(
            service, choose_user(service, self.settings.kafka_user, "aiven.kafka_user")
        )
        return build_kafka(service, user, self.fetch_ca(), self.settings, base)

    def fetch_postgres(self, base: PostgresSettings) -> DiscoveredPostgres:
        """How to reach PostgreSQL; raises as ``fetch_kafka`` does."""
        service = self.fetch_service(self.settings.postgres_service)
        _insist_on_kind(service, "postgres_service", "PostgreSQL", fits=service.is_postgres)
        return build_postgres(service, self.fetch_ca(), self.settings, base)

    def fetch_registry(self, base: SchemaRegistrySettings) -> SchemaRegistrySettings:
        """How to reach the Kafka service's schema registry, ``base`` where it has none."""
        service = self.fetch_service(self.settings.kafka_service)
        user = choose_user(service, self.settings.kafka_user, "aiven.kafka_user")
        return build_registry(service, user, self.fetch_ca(), self.settings.route, base)

    def fetch_service(self, name: str) -> Service:
        """A service that serves; waits for one that is being rebuilt.

        Raises:
            AivenUnavailableError, AuthenticationError, ConfigurationError,
            ServicePoweredOffError: see ServiceDirectory and ``insist_on_usable``.
        """
        with self._lock:
            if name not in self._services:
                service = self._await(name)
                insist_on_usable(service, self.settings.project)
                for notice in service.notices:
                    _log.warning("Aiven says of the service %r: %s", name, notice)
                self._services[name] = service
            return self._services[name]

    def fetch_ca(self) -> str:
        """The project's CA as PEM text; raises as ServiceDirectory does."""
        with self._lock:
            if self._ca is None:
                with closing(self._open()) as directory:
                    self._ca = directory.fetch_ca()
            return self._ca

    def forget(self) -> None:
        """Ask anew next time: certificates, passwords or addresses may have changed."""
        with self._lock:
            self._services.clear()
            self._ca = None

    def _await(self, name: str) -> Service:
        retrying = Retrying(
            retry=retry_if_result(lambda service: service.state is ServiceState.REBUILDING),
            stop=stop_after_delay(self._wait_seconds),
            wait=wait_fixed(_POLL_SECONDS),
            before_sleep=lambda _: _log.warning("the Aiven service %r is REBUILDING", name),
            retry_error_callback=_last_result,
            sleep=self._sleep,
        )
        return retrying(self._fetch, name)

    def _fetch(self, name: str) -> Service:
        with closing(self._open()) as directory:
            return directory.fetch_service(name)

    def _complete_user(self, service: Service, user: ServiceUser) -> ServiceUser:
        """A service may leave out its users' certificates; the user alone has them."""
        if self.settings.kafka_authentication != "certificate" or user.certificate:
            return user
        with closing(self._open()) as directory:
            return directory.fetch_user(service.name, user.name)


def build_lookup(
    settings: AivenSettings,
    environment: Mapping[str, str],
    *,
    patience_seconds: float = PATIENCE_SECONDS,
    wait_seconds: float | None = None,
) -> AivenLookup:
    """A look-up that asks the API when it is first needed."""
    return AivenLookup(
        settings,
        lambda: open_directory(settings, environment, patience_seconds=patience_seconds),
        wait_seconds=wait_seconds,
    )


def find_secrets(*found: object) -> tuple[str, ...]:
    """Every secret in settings that were looked up, for whoever hides them from messages."""
    secrets = (
        value.get_secret_value()
        for settings in found
        for value in vars(settings).values()
        if isinstance(value, SecretStr)
    )
    return tuple(secrets)


def _insist_on_kind(service: Service, key: str, kind: str, *, fits: bool) -> None:
    if not fits:
        raise ConfigurationError(
            f"aiven.{key}: the Aiven service {service.name!r} is of the type {service.type!r}, "
            f"and no {kind}"
        )


def _last_result(state: RetryCallState) -> Service:
    service: Service = state.outcome.result()  # type: ignore[union-attr] # there was a try
    return service
