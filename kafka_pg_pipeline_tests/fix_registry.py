"""A schema registry of the tests: Confluent's API over HTTP, as far as clients use it.

A real one (Karapace, Apicurio, Confluent's) is not among this machine's packages. What this one
answers is held against Confluent's own client in ``formats/test_registry.py``.
"""

import base64
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote

import pytest

from kafka_pg_pipeline.domain.schemas import RegisteredSchema
from kafka_pg_pipeline.formats.protobuf import ProtoCompiler

_NOT_FOUND = {
    "subject": (404, {"error_code": 40401, "message": "Subject not found."}),
    "version": (404, {"error_code": 40402, "message": "Version not found."}),
    "schema": (404, {"error_code": 40403, "message": "Schema not found"}),
}


@dataclass
class RegistryServer:
    """What is registered, and what a test wants to go wrong."""

    url: str = ""
    login: tuple[str, str] | None = None
    fails_with: int | None = None
    deleted: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    schemas: list[dict[str, Any]] = field(default_factory=list)
    subjects: dict[str, list[int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def register(self, subject: str, text: str, kind: str = "AVRO", references: Any = ()) -> int:
        """Register a schema as a client does; its id."""
        body = {"schema": text, "schemaType": kind, "references": list(references)}
        return int(
            self.answer("POST", f"/subjects/{quote(subject, safe='')}/versions", body)[1]["id"]
        )

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        path, _, query = path.partition("?")
        if "deleted=true" not in query and any(f"/{name}/" in path for name in self.deleted):
            return _NOT_FOUND["subject"]
        status, found = self._answer(method, path, body)
        if status == 200 and "format=serialized" in query and found["schemaType"] == "PROTOBUF":
            found = {**found, "schema": _compile(found["schema"])}
        return status, found

    def _answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if match := re.fullmatch(r"/schemas/ids/(\d+)", path):
            return self._by_id(int(match[1]))
        if match := re.fullmatch(r"/subjects/([^/]+)/versions", path):
            return 200, {"id": self._add(unquote(match[1]), body)}
        if match := re.fullmatch(r"/subjects/([^/]+)/versions/(\d+|latest)", path):
            return self._by_version(unquote(match[1]), match[2])
        if match := re.fullmatch(r"/subjects/([^/]+)", path):
            return self._look_up(unquote(match[1]), body)
        if path == "/subjects":
            return 200, list(self.subjects)
        return 404, {"error_code": 404, "message": f"HTTP 404 {method}"}

    def _by_id(self, schema_id: int) -> tuple[int, Any]:
        if schema_id >= 2**31:  # no number to it, so no such address
            return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}
        if not 0 < schema_id <= len(self.schemas):
            return _NOT_FOUND["schema"]
        return 200, _shown(self.schemas[schema_id - 1])

    def _add(self, subject: str, body: dict[str, Any]) -> int:
        with self._lock:
            known = _schema_of(body)
            if known not in self.schemas:
                self.schemas.append(known)
            schema_id = self.schemas.index(known) + 1
            versions = self.subjects.setdefault(subject, [])
            if schema_id not in versions:
                versions.append(schema_id)
            return schema_id

    def _by_version(self, subject: str, version: str) -> tuple[int, Any]:
        ids = self.subjects.get(subject)
        if ids is None:
            return _NOT_FOUND["subject"]
        number = len(ids) if version == "latest" else int(version)
        if not 0 < number <= len(ids):
            return _NOT_FOUND["version"]
        return 200, self._version(subject, number)

    def _look_up(self, subject: str, body: dict[str, Any]) -> tuple[int, Any]:
        known = _schema_of(body)
        for number, schema_id in enumerate(self.subjects.get(subject, ()), 1):
            if self.schemas[schema_id - 1] == known:
                return 200, self._version(subject, number)
        return _NOT_FOUND["schema" if subject in self.subjects else "subject"]

    def _version(self, subject: str, number: int) -> dict[str, Any]:
        schema_id = self.subjects[subject][number - 1]
        return {
            "subject": subject,
            "version": number,
            "id": schema_id,
            **_shown(self.schemas[schema_id - 1]),
        }


def _compile(text: str) -> str:
    """A .proto text as a registry serializes it for clients that do not read the text."""
    file = ProtoCompiler().compile(RegisteredSchema("PROTOBUF", text))
    return base64.b64encode(file.serialized_pb).decode()


def _schema_of(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": body["schema"],
        "schemaType": body.get("schemaType") or "AVRO",
        "references": body.get("references") or [],
    }


def _shown(schema: dict[str, Any]) -> dict[str, Any]:
    """As the API shows one: Avro goes without saying, and so do no references."""
    return {
        key: value
        for key, value in schema.items()
        if not (key == "schemaType" and value == "AVRO") and value != []
    }


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    """An empty registry on loopback."""
    state = RegistryServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve({})

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self._serve(json.loads(self.rfile.read(length) or b"{}"))

        def _serve(self, body: dict[str, Any]) -> None:
            state.requests.append(self.path)
            status, answer = 200, None
            if state.fails_with is not None:
                status, answer = state.fails_with, {"error_code": 50001, "message": "out of order"}
            elif state.login is not None and not self._may_come_in(state.login):
                status, answer = 401, {"error_code": 401, "message": "Unauthorized"}
            else:
                status, answer = state.answer(self.command, self.path, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(data)))
            if status == 503:
                self.send_header("Retry-After", "3600")
            self.end_headers()
            self.wfile.write(data)

        def _may_come_in(self, login: tuple[str, str]) -> bool:
            given = base64.b64encode(":".join(login).encode()).decode()
            return self.headers.get("Authorization") == f"Basic {given}"

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
