"""The client of the registry, and the tests' registry held against Confluent's own client."""

from pathlib import Path

import pytest
import requests
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from pydantic import SecretStr

from kafka_pg_pipeline.adapters import schema_registry
from kafka_pg_pipeline.adapters.schema_registry import HttpSchemaRegistry
from kafka_pg_pipeline.domain.records import Reason
from kafka_pg_pipeline.domain.schemas import RegisteredSchema
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.errors import (
    AuthenticationError,
    ConfigurationError,
    RegistryUnavailableError,
)
from kafka_pg_pipeline.settings.models import SchemaRegistrySettings
from kafka_pg_pipeline_tests.fix_registry import RegistryServer

TEXT = '{"type": "record", "name": "R", "fields": []}'


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_registry, "_BACKOFF_SECONDS", 0.01)


def client_of(server: RegistryServer, **changes: object) -> HttpSchemaRegistry:
    return HttpSchemaRegistry(SchemaRegistrySettings(url=server.url, **changes))


def test_a_schema_is_fetched_once(registry: RegistryServer) -> None:
    schema_id = registry.register("a-value", TEXT)
    client = client_of(registry)
    assert client.fetch_schema(schema_id) == RegisteredSchema("AVRO", TEXT)
    assert client.fetch_schema(schema_id).text == TEXT
    assert registry.requests == [f"/schemas/ids/{schema_id}"]


def test_references_come_along(registry: RegistryServer) -> None:
    registry.register("deep", "message D {}", "PROTOBUF")
    registry.register(
        "a/b", "message B {}", "PROTOBUF", [{"name": "d.proto", "subject": "deep", "version": 1}]
    )
    references = [{"name": "b.proto", "subject": "a/b", "version": 1}]
    schema_id = registry.register("a-value", "message A {}", "PROTOBUF", references)
    deep = RegisteredSchema("PROTOBUF", "message D {}")
    assert client_of(registry).fetch_schema(schema_id) == RegisteredSchema(
        "PROTOBUF",
        "message A {}",
        (("b.proto", RegisteredSchema("PROTOBUF", "message B {}", (("d.proto", deep),))),),
    )


def test_an_unknown_id_is_the_records_fault_and_not_asked_for_at_once(
    registry: RegistryServer,
) -> None:
    client = client_of(registry)
    for _ in range(3):
        with pytest.raises(Rejected) as verdict:
            client.fetch_schema(7)
        assert verdict.value.reason is Reason.UNKNOWN_SCHEMA
    assert len(registry.requests) == 1


def test_an_id_that_was_unknown_may_be_known_later(registry: RegistryServer) -> None:
    now = [0.0]
    client = HttpSchemaRegistry(SchemaRegistrySettings(url=registry.url), lambda: now[0])
    with pytest.raises(Rejected):
        client.fetch_schema(1)
    registry.register("a", TEXT)
    now[0] = 31.0
    assert client.fetch_schema(1).text == TEXT


def test_an_id_that_no_registry_can_have_is_the_records_fault(registry: RegistryServer) -> None:
    with pytest.raises(Rejected) as verdict:
        client_of(registry).fetch_schema(2**31)
    assert verdict.value.reason is Reason.UNKNOWN_SCHEMA


def test_a_deleted_schema_still_explains_what_refers_to_it(registry: RegistryServer) -> None:
    registry.register("gone", TEXT)
    references = [{"name": "R", "subject": "gone", "version": 1}]
    schema_id = registry.register("top", '"R"', references=references)
    registry.deleted.add("gone")
    assert client_of(registry).fetch_schema(schema_id).references[0][1].text == TEXT


def test_what_several_schemas_refer_to_is_fetched_once(registry: RegistryServer) -> None:
    registry.register("shared", TEXT)
    references = [{"name": "R", "subject": "shared", "version": 1}]
    client = client_of(registry)
    for subject in ("one", "two"):
        client.fetch_schema(registry.register(subject, f'["{subject}"]', references=references))
    assert len([path for path in registry.requests if "/shared/" in path]) == 1


# The tests' registry asks for an hour with its 503.
@pytest.mark.timeout(30)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_registry_out_of_order_is_an_outage(registry: RegistryServer, status: int) -> None:
    registry.fails_with = status
    with pytest.raises(RegistryUnavailableError, match=f"HTTP {status}"):
        client_of(registry).fetch_schema(1)
    assert len(registry.requests) == 5


def test_a_registry_that_is_gone_is_an_outage() -> None:
    server = RegistryServer(url="http://127.0.0.1:9")
    with pytest.raises(RegistryUnavailableError, match=r"http://127\.0\.0\.1:9 does not answer"):
        client_of(server).fetch_schema(1)


def test_another_server_is_told_from_an_unknown_schema(registry: RegistryServer) -> None:
    client = HttpSchemaRegistry(SchemaRegistrySettings(url=f"{registry.url}/elsewhere"))
    with pytest.raises(RegistryUnavailableError, match="no answer of a schema registry"):
        client.fetch_schema(1)


def test_a_login_is_asked_for_and_given(registry: RegistryServer) -> None:
    registry.login = ("reader", "canary-3f")
    schema_id = registry.register("a", TEXT)
    with pytest.raises(AuthenticationError, match=r"schema_registry\.username") as refused:
        client_of(registry, username="reader", password=SecretStr("wrong")).fetch_schema(1)
    assert "wrong" not in str(refused.value)
    client = client_of(registry, username="reader", password=SecretStr("canary-3f"))
    assert client.fetch_schema(schema_id).text == TEXT


def test_a_password_may_hold_any_character(registry: RegistryServer) -> None:
    registry.login = ("lesér", "pässwörd: €")
    schema_id = registry.register("a", TEXT)
    client = client_of(registry, username="lesér", password=SecretStr("pässwörd: €"))
    assert client.fetch_schema(schema_id).text == TEXT


def test_a_file_of_the_ca_that_is_not_there_is_told(
    registry: RegistryServer, tmp_path: Path
) -> None:
    url = registry.url.replace("http:", "https:")
    settings = SchemaRegistrySettings(url=url, cafile=tmp_path / "ca.pem")
    with pytest.raises(ConfigurationError, match="cafile"):
        HttpSchemaRegistry(settings).fetch_schema(1)


# -- the tests' own registry, as Confluent's client sees it ---------------------------------------


def test_the_registry_of_the_tests_answers_confluents_client(registry: RegistryServer) -> None:
    client = SchemaRegistryClient({"url": registry.url})
    first = client.register_schema("a-value", Schema(TEXT, "AVRO"))
    assert client.register_schema("a-value", Schema(TEXT, "AVRO")) == first
    reference = SchemaReference("A", "a-value", 1)
    other = client.register_schema("b-value", Schema('"A"', "AVRO", [reference]))
    assert other != first
    assert client.get_schema(first).schema_str == TEXT
    assert client.get_schema(other).references[0].subject == "a-value"
    latest = client.get_latest_version("a-value")
    assert (latest.schema_id, latest.version) == (first, 1)
    assert client.lookup_schema("a-value", Schema(TEXT, "AVRO")).schema_id == first
    assert client.get_subjects() == ["a-value", "b-value"]


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda client: client.get_schema(99), 40403),
        (lambda client: client.get_latest_version("none"), 40401),
        (lambda client: client.get_version("a-value", 9), 40402),
    ],
)
def test_it_says_what_is_not_there_as_the_api_does(
    registry: RegistryServer, ask: object, code: int
) -> None:
    client = SchemaRegistryClient({"url": registry.url})
    client.register_schema("a-value", Schema(TEXT, "AVRO"))
    with pytest.raises(SchemaRegistryError) as refused:
        ask(client)  # type: ignore[operator]
    assert refused.value.error_code == code


def test_what_it_does_not_know_is_no_schema(registry: RegistryServer) -> None:
    assert requests.get(f"{registry.url}/else", timeout=5).json()["error_code"] == 404
