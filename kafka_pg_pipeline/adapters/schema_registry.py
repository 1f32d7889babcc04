"""A schema registry that speaks Confluent's API, as Karapace does: the port SchemaRegistry."""

import ssl
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from urllib3.util import Retry

from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.schemas import RegisteredSchema
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.errors import (
    AuthenticationError,
    ConfigurationError,
    RegistryUnavailableError,
)
from kafka_pg_pipeline.settings.discovered import DiscoveredRegistry
from kafka_pg_pipeline.settings.models import SchemaRegistrySettings

_ACCEPT = "application/vnd.schemaregistry.v1+json, application/json"
_RETRIES, _RETRIES_OF_SILENCE = 4, 1
_BACKOFF_SECONDS = 0.5
_PASSING = (429, 500, 502, 503, 504)
# Registries hold ids in 32 bits with a sign; beyond, they answer as if the address were wrong.
_LARGEST_ID = 2**31 - 1
# Error codes of the API: subject, version and schema not found.
_UNKNOWN = (40401, 40402, 40403)
# An id that nobody knows is not asked for again at once: a bad topic may be full of it.
_UNKNOWN_SECONDS = 30.0


class HttpSchemaRegistry:
    """Fetches schemas by id; what an id stands for never changes, so that each is fetched once."""

    def __init__(
        self, settings: SchemaRegistrySettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = settings.url.rstrip("/")
        self._timeout = settings.request_timeout_seconds
        self._clock = clock
        self._schemas: dict[int, RegisteredSchema] = {}
        self._versions: dict[tuple[str, int], RegisteredSchema] = {}
        self._unknown: dict[int, float] = {}
        self._session = _open_session(settings)

    def fetch_schema(self, schema_id: int) -> RegisteredSchema:
        """The schema of an id, with those that it refers to.

        Raises:
            Rejected: the registry does not know it.
            RegistryUnavailableError: the registry did not answer in time.
            AuthenticationError: it does not let us in.
            ConfigurationError: a file named for TLS cannot be read.
        """
        known = self._schemas.get(schema_id)
        if known is not None:
            return known
        if schema_id > _LARGEST_ID or self._unknown.get(schema_id, 0.0) > self._clock():
            raise Rejected(Stage.DECODE, Reason.UNKNOWN_SCHEMA)
        try:
            schema = self._complete(self._get(f"/schemas/ids/{schema_id}"))
        except Rejected:
            self._unknown[schema_id] = self._clock() + _UNKNOWN_SECONDS
            raise
        self._schemas[schema_id] = schema
        return schema

    def check(self) -> None:
        """Ask the registry for anything; raises as ``fetch_schema`` does."""
        self._get("/subjects?limit=1")

    def close(self) -> None:
        """Release connections; safe to call twice."""
        self._session.close()

    def _complete(self, found: Any) -> RegisteredSchema:
        references = tuple(
            (reference["name"], self._fetch_version(reference["subject"], reference["version"]))
            for reference in found.get("references") or ()
        )
        return RegisteredSchema(found.get("schemaType") or "AVRO", found["schema"], references)

    def _fetch_version(self, subject: str, version: int) -> RegisteredSchema:
        key = (subject, version)
        if key not in self._versions:
            # A deleted schema still says what the records are that were written with it.
            path = f"/subjects/{quote(subject, safe='')}/versions/{version}?deleted=true"
            self._versions[key] = self._complete(self._get(path))
        return self._versions[key]

    def _get(self, path: str) -> Any:
        try:
            answer = self._session.get(self._url + path, timeout=self._timeout)
        except requests.exceptions.SSLError:
            raise RegistryUnavailableError(
                f"{self._describe()} shows a certificate that is not signed by "
                "schema_registry.cafile, or refuses ours"
            ) from None
        except requests.RequestException:
            raise RegistryUnavailableError(
                f"{self._describe()} does not answer: nothing was moved, a later run continues. "
                "`kafka-pg doctor` checks it"
            ) from None
        except OSError:  # requests' own for a file that is not there
            raise ConfigurationError(
                "schema_registry: a file of cafile, certfile and keyfile cannot be read"
            ) from None
        return self._read(answer)

    def _read(self, answer: requests.Response) -> Any:
        if answer.status_code in (401, 403):
            raise AuthenticationError(
                f"{self._describe()} does not let us in (HTTP {answer.status_code}): check "
                "schema_registry.username and password, and what the user may read"
            )
        try:
            body = answer.json()
        except ValueError:
            body = None
        if answer.status_code == requests.codes.ok and body is not None:
            return body
        if isinstance(body, dict) and body.get("error_code") in _UNKNOWN:
            raise Rejected(Stage.DECODE, Reason.UNKNOWN_SCHEMA)
        raise RegistryUnavailableError(
            f"{self._describe()} answers HTTP {answer.status_code}, which is no answer of a schema "
            "registry: nothing was moved. Check schema_registry.url"
        )

    def _describe(self) -> str:
        parts = urlsplit(self._url)
        port = f":{parts.port}" if parts.port else ""
        return f"the schema registry at {parts.scheme}://{parts.hostname}{port}"


def _open_session(settings: SchemaRegistrySettings) -> requests.Session:
    session = requests.Session()
    # Nothing of the machine's own settings decides with what we log in.
    session.trust_env = False
    session.headers["Accept"] = _ACCEPT
    if settings.username:
        password = settings.password.get_secret_value() if settings.password else ""
        # As bytes: of a text requests takes Latin-1 alone.
        session.auth = HTTPBasicAuth(settings.username.encode(), password.encode())
    session.verify = str(settings.cafile) if settings.cafile else True
    if settings.certfile and settings.keyfile:
        session.cert = (str(settings.certfile), str(settings.keyfile))
    retry = Retry(
        total=_RETRIES,
        read=_RETRIES_OF_SILENCE,
        backoff_factor=_BACKOFF_SECONDS,
        status_forcelist=_PASSING,
        allowed_methods=("GET",),
        raise_on_status=False,
        # It may ask for an hour; a later run is soon enough.
        respect_retry_after_header=False,
    )
    session.mount(f"{urlsplit(settings.url).scheme}://", _make_adapter(settings, retry))
    return session


def _make_adapter(settings: SchemaRegistrySettings, retry: Retry) -> HTTPAdapter:
    if not isinstance(settings, DiscoveredRegistry):
        return HTTPAdapter(max_retries=retry)
    context = ssl.create_default_context(cadata=settings.ca)
    return _AlsoTrusting(context, max_retries=retry)


class _AlsoTrusting(HTTPAdapter):
    """Takes certificates of the usual CAs, and of those in a context of ours.

    Whether Aiven's registries have the project's CA or a public one depends on their age.
    """

    def __init__(self, context: ssl.SSLContext, **options: Any) -> None:
        self._context = context
        super().__init__(**options)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Make the connections with that context; ``verify`` adds the usual CAs to it."""
        super().init_poolmanager(*arguments, ssl_context=self._context, **options)
