"""The schema registry of a Kafka service: its address, its login, and how it is proved."""

import base64
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kafka_pg_pipeline.adapters.schema_registry import HttpSchemaRegistry
from kafka_pg_pipeline.assembly.aiven import build_lookup
from kafka_pg_pipeline.errors import RegistryUnavailableError
from kafka_pg_pipeline.settings.models import SchemaRegistrySettings
from kafka_pg_pipeline_tests.certificates import Authority
from kafka_pg_pipeline_tests.fix_aiven import KAFKA, KAFKA_PASSWORD, AivenServer


@contextmanager
def registry_of(authority: Authority, directory: Path) -> Iterator[tuple[int, list[str]]]:
    """A registry without subjects on a port of localhost, and the logins that it saw."""
    logins: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            logins.append(self.headers["Authorization"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            return

    pair = directory / "registry.pem"
    pair.write_text(authority.issue("localhost").both)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1], logins
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("is_ours", [True, False])
def test_the_registry_of_the_service_is_proved_by_the_projects_ca(
    aiven: AivenServer, tmp_path: Path, is_ours: bool
) -> None:
    project = Authority()
    aiven.project_ca = project.pem
    with registry_of(project if is_ours else Authority(), tmp_path) as (port, logins):
        for component in aiven.services[KAFKA]["components"]:
            if component["component"] == "schema_registry":
                component |= {"host": "localhost", "port": port}
        lookup = build_lookup(aiven.settings(), aiven.environment)
        settings = lookup.fetch_registry(SchemaRegistrySettings())
        with closing(HttpSchemaRegistry(settings)) as registry:
            if is_ours:
                registry.check()
            else:
                with pytest.raises(RegistryUnavailableError, match="certificate"):
                    registry.check()
    login = base64.b64encode(f"avnadmin:{KAFKA_PASSWORD}".encode()).decode()
    assert logins == ([f"Basic {login}"] if is_ours else [])


def test_a_password_that_aiven_does_not_tell_stops_no_stream_that_needs_no_registry(
    aiven: AivenServer,
) -> None:
    for told in (None, "<redacted>"):
        aiven.services[KAFKA]["users"][0]["password"] = told
        lookup = build_lookup(aiven.settings(), aiven.environment)
        assert lookup.fetch_registry(SchemaRegistrySettings()).url == ""
    found = lookup.fetch_registry(SchemaRegistrySettings(password="mine"))
    assert found.url == ""  # the other answers of this token would be redacted as well
    aiven.services[KAFKA]["users"][0]["password"] = None
    lookup.forget()
    assert lookup.fetch_registry(SchemaRegistrySettings(password="mine")).url
