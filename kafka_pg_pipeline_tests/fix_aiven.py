"""Aiven's API as the samples show it, over HTTPS with a certificate of a real CA.

It answers with the bodies of ``aiven/samples``, each secret of which is a marker that must be found
nowhere afterwards; a test changes the services, and lets calls fail.
"""

import copy
import json
import logging
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from kafka_pg_pipeline.settings.models import AivenSettings
from kafka_pg_pipeline_tests.certificates import Authority

SAMPLES = Path(__file__).parent / "aiven" / "samples"
PROJECT, KAFKA, POSTGRES = "acme-data", "kafka-events", "pg-landing"
# Markers: whatever shows one of them has told a secret.
TOKEN = "canary-token-7f31c9d2e5"
PG_PASSWORD = "canary-pg-password-5be1"
KAFKA_PASSWORD = "canary-kafka-password-83fd"
ETL_PASSWORD = "canary-etl-password-c04a"
MARKERS = (TOKEN, PG_PASSWORD, KAFKA_PASSWORD, ETL_PASSWORD)
_FAKES = {
    "fake-pg-password": PG_PASSWORD,
    "fake-kafka-password": KAFKA_PASSWORD,
    "fake-etl-password": ETL_PASSWORD,
}


def read_sample(name: str) -> Any:
    """A sample's body, with markers for its secrets."""
    text = (SAMPLES / f"{name}.json").read_text()
    for fake, marker in _FAKES.items():
        text = text.replace(fake, marker)
    # Certificates of the samples must not end one day.
    text = text.replace("2028-04-03", "2099-04-03")
    return json.loads(text)


@dataclass(frozen=True)
class Call:
    """A request that came in."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Any = None


@dataclass
class Fault:
    """What calls of a path get in place of their answer, so many times."""

    pattern: str
    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = 1_000_000


@dataclass
class AivenServer:
    """The account that is shown, and what a test wants to go wrong."""

    authority: Authority
    url: str = ""
    cafile: Path = Path()
    token: str = TOKEN
    project_ca: str = ""
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    topics: list[dict[str, Any]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    on_topic: Callable[[dict[str, Any]], None] = lambda _: None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def environment(self) -> dict[str, str]:
        """What a user exports."""
        return {
            "AIVEN_API_URL": self.url,
            "AIVEN_TOKEN": self.token,
            "AIVEN_CA_CERT": str(self.cafile),
        }

    def settings(self, **changes: Any) -> AivenSettings:
        return AivenSettings.model_validate(
            {"project": PROJECT, "kafka_service": KAFKA, "postgres_service": POSTGRES, **changes}
        )

    def fail(self, pattern: str, status: int, sample: Any = None, **more: Any) -> None:
        """Let calls whose path fits fail with the body of a sample (error_…), or with this one."""
        is_name = isinstance(sample, str) and sample.startswith("error_")
        body = read_sample(sample) if is_name else sample
        self.faults.append(Fault(pattern, status, body, **more))

    def use_sample(self, service: str, sample: str) -> None:
        """Show a service as another sample has it."""
        self.services[service] = read_sample(sample)["service"]

    def paths(self) -> list[str]:
        return [f"{call.method} {call.path}" for call in self.calls]

    def answer(self, call: Call) -> tuple[int, Any, Mapping[str, str]]:
        with self._lock:
            self.calls.append(call)
            if call.headers.get("Authorization") != f"aivenv1 {TOKEN}":
                return 401, read_sample("error_401_invalid_token"), {}
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, f"{call.method} {call.path}"):
                    fault.times -= 1
                    return fault.status, fault.body, fault.headers
            status, body = self._answer(call)
            return status, body, {}

    def _answer(self, call: Call) -> tuple[int, Any]:
        parts = [unquote(part) for part in call.path.strip("/").split("/")]
        if parts == ["v1", "project"]:
            return 200, read_sample("project_list")
        if parts[:3] != ["v1", "project", PROJECT]:
            return 403, read_sample("error_403_not_project_member")
        match parts[3:]:
            case []:
                return 200, read_sample("project_get")
            case ["kms", "ca"]:
                return 200, {"certificate": self.project_ca}
            case ["service"]:
                return 200, {"services": list(self.services.values())}
            case ["service", name, *rest] if name in self.services:
                return self._answer_service(call, self.services[name], rest)
        return 404, read_sample("error_404_service")

    def _answer_service(
        self, call: Call, service: dict[str, Any], rest: list[str]
    ) -> tuple[int, Any]:
        given = call.body or {}
        match call.method, rest:
            case "GET", []:
                # A success may carry these, and no `errors` is meant by it.
                found = service if "include_secrets=true" in call.query else redact(service)
                return 200, {"service": found, "errors": [], "message": ""}
            case "GET", ["user", name]:
                users = [user for user in service["users"] if user["username"] == name]
                return (200, {"user": users[0]}) if users else (404, {"message": "no user"})
            case "GET", ["topic"]:
                return 200, {"topics": self.topics}
            case "POST", ["topic"]:
                self.on_topic(given)
                service.setdefault("topics", []).append(given)
                self.topics.append({**given, "state": "CONFIGURING"})
                return 200, {"message": "created"}
            case "POST", ["db"]:
                service["databases"].append(given["database"])
                return 200, {"message": "created"}
            case "POST", ["user"]:
                user = {"username": given["username"], "type": "regular", "password": ETL_PASSWORD}
                service["users"].append(user)
                return 200, {"user": user}
            case "POST", ["acl"]:
                service["acl"].append(given)
                return 200, {"acl": service["acl"]}
        return 404, {"message": "no such call"}


def redact(value: Any) -> Any:
    """A body for whoever does not ask for secrets."""
    if isinstance(value, dict):
        return {
            key: "<redacted>"
            if isinstance(item, str) and re.search("password|uri$|access_(cert|key)$", key)
            else redact(item)
            for key, item in value.items()
        }
    return [redact(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="session")
def api_authority() -> Authority:
    """The CA of the API's own address, which is not the project's."""
    return Authority()


# Where somebody asked for secrets by name.
_ASKED_FOR = "certificates"


@dataclass
class Canary:
    """The markers, and all places in which none of them may be found when the session ends."""

    markers: set[str] = field(default_factory=lambda: set(MARKERS))
    directories: list[Path] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def find_told(self) -> Iterator[str]:
        """Each place that shows a marker: log lines with their tracebacks, and files."""
        for line in self.told:
            yield from (f"log: {line}" for marker in self.markers if marker in line)
        for directory in self.directories:
            for path in directory.rglob("*"):
                if path.is_file() and _ASKED_FOR not in path.parts:
                    content = path.read_bytes()
                    yield from (str(path) for marker in self.markers if marker.encode() in content)


class _Listener(logging.Handler):
    """Keeps every log line of every logger, with its traceback, as text."""

    def __init__(self, canary: Canary) -> None:
        super().__init__(logging.DEBUG)
        self._canary = canary

    def emit(self, record: logging.LogRecord) -> None:
        self._canary.told.append(self.format(record))


@pytest.fixture(scope="session")
def canary() -> Iterator[Canary]:
    """Insists at the end of the session that no test with Aiven has left a secret anywhere."""
    canary = Canary()
    listener = _Listener(canary)
    root = logging.getLogger()
    root.addHandler(listener)
    try:
        yield canary
    finally:
        root.removeHandler(listener)
    assert list(canary.find_told()) == []


@pytest.fixture
def aiven(api_authority: Authority, tmp_path: Path, canary: Canary) -> Iterator[AivenServer]:
    """Aiven's API with the samples' project, on loopback."""
    canary.directories.append(tmp_path)
    server = AivenServer(api_authority, project_ca=api_authority.pem)
    for name, sample in ((KAFKA, "service_get_kafka"), (POSTGRES, "service_get_pg")):
        server.services[name] = copy.deepcopy(read_sample(sample)["service"])
    server.topics = read_sample("kafka_topic_list")["topics"]
    server.cafile = tmp_path / "api-ca.pem"
    server.cafile.write_text(api_authority.pem)
    pair = tmp_path / "api.pem"
    pair.write_text(api_authority.issue("localhost").both)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    with serving(server, context):
        yield server


class serving:  # noqa: N801 - reads as the statement that it is
    """Answers over TLS while the body runs."""

    def __init__(self, state: AivenServer, context: ssl.SSLContext) -> None:
        self._server = _Server(("127.0.0.1", 0), _handler_of(state))
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}
        )
        state.url = f"https://localhost:{self._server.server_address[1]}"

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A client that does not trust us hangs up; that is its right."""


def _handler_of(state: AivenServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            self._answer(json.loads(self.rfile.read(length)))

        def _answer(self, body: Any) -> None:
            address = urlsplit(self.path)
            call = Call(self.command, address.path, address.query, dict(self.headers), body)
            status, found, headers = state.answer(call)
            if status == 0:  # hangs up
                self.close_connection = True
                self.connection.close()
                return
            data = found.encode() if isinstance(found, str) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            return

    return Handler
