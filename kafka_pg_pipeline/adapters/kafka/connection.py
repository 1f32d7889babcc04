"""Makes kafka-python clients that leave nothing behind, whatever goes wrong."""

import ssl
import threading
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from kafka.net.compat import KafkaNetClient

from kafka_pg_pipeline.adapters.kafka.client_logs import quiet_client_logs
from kafka_pg_pipeline.adapters.kafka.refusals import OutspokenManager
from kafka_pg_pipeline.adapters.kafka.sockets import DIRECT, ClosingSelector, ClosingTlsContext
from kafka_pg_pipeline.adapters.private_files import private_file
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.settings.discovered import DiscoveredKafka
from kafka_pg_pipeline.settings.models import KafkaSettings

BOOTSTRAP_TIMEOUT_SECONDS = 8.0
CLOSE_TIMEOUT_SECONDS = 5.0

T = TypeVar("T")
Isolation = Literal["read_committed", "read_uncommitted"]


class ClientKeeper:
    """The ``kafka_client=`` factory of one driver object; keeps what it made, to close it.

    kafka-python's constructors leave a thread and five file descriptors behind when they fail.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._net: Any = None
        self._client: Any = None
        self._manager: Any = None
        self._tls: Any = None
        self._closed = False

    def __call__(self, **configs: Any) -> Any:
        """Make the network client for the driver object under construction."""
        make_net: Callable[..., Any] = ClosingSelector
        make_manager: Callable[..., Any] = OutspokenManager
        make_client: Callable[..., Any] = KafkaNetClient
        with self._lock:
            if self._closed:
                message = "the client was given up while it was being made"
                raise ConnectionAbortedError(message)
            self._tls = configs.get("ssl_context")
            self._net = make_net(**configs)
            self._manager = make_manager(self._net, **configs)
            self._client = make_client(net=self._net, manager=self._manager, **configs)
            return self._client

    @property
    def manager(self) -> Any:
        """The connection manager: sends single protocol requests."""
        return self._manager

    def close(self) -> None:
        """Close sockets and end the IO thread, waiting a bounded time; safe to call twice."""
        closer = threading.Thread(target=self._close, name="kafka-close", daemon=True)
        closer.start()
        closer.join(CLOSE_TIMEOUT_SECONDS)

    def abandon(self) -> None:
        """As ``close``, without waiting."""
        threading.Thread(target=self._close, name="kafka-close", daemon=True).start()

    def _close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._client is not None:
                self._client.close()
            elif self._net is not None:
                self._net.close()
            if isinstance(self._tls, ClosingTlsContext):
                self._tls.sockets.close()


def open_client(make: Callable[..., T], keeper: ClientKeeper, options: dict[str, Any]) -> T:
    """``make(**options)`` on the keeper's network client, which is closed when that fails."""
    quiet_client_logs()
    try:
        return make(kafka_client=keeper, **options)
    except BaseException:
        keeper.close()
        raise


def build_client_options(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """The options that consumer, admin client and producer share.

    Raises:
        ConfigurationError: No broker is named, or a TLS file cannot be read.
    """
    return {
        "bootstrap_servers": _parse_servers(settings.bootstrap_servers),
        "client_id": client_id,
        "bootstrap_timeout_ms": int(BOOTSTRAP_TIMEOUT_SECONDS * 1000),
        "request_timeout_ms": int(settings.request_timeout_seconds * 1000),
        "proxy_url": DIRECT,
        "security_protocol": settings.security_protocol,
        **_build_tls_options(settings),
        **_build_sasl_options(settings),
    }


def _parse_servers(text: str) -> list[str]:
    servers = [server.strip() for server in text.split(",") if server.strip()]
    if not servers:
        message = (
            "no Kafka broker is named; set kafka.bootstrap_servers in the configuration file or "
            "KAFKA_BOOTSTRAP_SERVERS in the environment"
        )
        raise ConfigurationError(message)
    for server in servers:
        _, _, port = server.rpartition(":")
        if not port.isdigit() or not 0 < int(port) < 65536:
            message = f"kafka.bootstrap_servers: {server!r} is not host:port"
            raise ConfigurationError(message)
    return servers


def _build_tls_options(settings: KafkaSettings) -> dict[str, Any]:
    if settings.security_protocol not in ("SSL", "SASL_SSL"):
        return {}
    context = ClosingTlsContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if isinstance(settings, DiscoveredKafka):
        _load_texts(context, settings)
    else:
        _load_files(context, settings)
    return {"ssl_context": context}


def _load_files(context: ssl.SSLContext, settings: KafkaSettings) -> None:
    try:
        if settings.ssl_cafile is not None:
            context.load_verify_locations(settings.ssl_cafile)
        else:
            context.load_default_certs()
        if settings.ssl_certfile is not None:
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile)
    except OSError as error:
        message = (
            "kafka.ssl_cafile, kafka.ssl_certfile or kafka.ssl_keyfile cannot be used: "
            f"{error.strerror or type(error).__name__}"
        )
        raise ConfigurationError(message) from error


def _load_texts(context: ssl.SSLContext, settings: DiscoveredKafka) -> None:
    """As ``_load_files``; the key lies in a file only while it is read."""
    try:
        context.load_verify_locations(cadata=settings.ca)
        if settings.certificate is not None and settings.key is not None:
            pair = settings.certificate + "\n" + settings.key.get_secret_value()
            with private_file(pair) as path:
                context.load_cert_chain(path)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            "the CA, the certificate or the key of the Kafka user that Aiven tells cannot be used: "
            f"{type(error).__name__}; has it been renewed halfway? `kafka-pg aiven check` looks"
        ) from None


def _build_sasl_options(settings: KafkaSettings) -> dict[str, Any]:
    if not settings.security_protocol.startswith("SASL_"):
        return {}
    password = settings.sasl_password
    return {
        "sasl_mechanism": settings.sasl_mechanism,
        "sasl_plain_username": settings.sasl_username,
        "sasl_plain_password": password.get_secret_value() if password is not None else None,
    }
