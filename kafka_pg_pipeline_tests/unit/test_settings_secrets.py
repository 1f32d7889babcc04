"""Secrets are in the environment alone: not in the file, not in a message, not in a repr."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, ValidationError

from kafka_pg_pipeline.assembly.endpoints import resolve_endpoints
from kafka_pg_pipeline.resources.kafka import KafkaResource
from kafka_pg_pipeline.settings.models import PipelineSettings
from kafka_pg_pipeline.settings.schema import Node, build_schema
from kafka_pg_pipeline.settings.secret_keys import is_secret
from kafka_pg_pipeline_tests.settings_files import STREAM, load_or_refuse, load_text, refuse_text

CANARY = "C4NARY-hunter2"
KEYS = [("postgres", "password"), ("kafka", "sasl_password")]
BOTH = f"{STREAM}postgres: {{password: '${{PG_SECRET}}'}}\nkafka: {{sasl_password: '${{K:-}}'}}\n"


@pytest.mark.parametrize(("section", "key"), KEYS)
@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        f"'{CANARY}'",
        f'"{CANARY}"',
        f"[{CANARY}]",
        f"{{a: {CANARY}}}",
        f"&anchor {CANARY}",
        f"|\n    {CANARY}",
        f"'${{SET}}{CANARY}'",
        f"${{SET:-{CANARY}}}",
        f"$${{{CANARY}}}",
        f"${{{CANARY}}}",
        "'${SET}${SET}'",
        "'${SET} '",
        "0123456789",
    ],
)
def test_a_secret_in_clear_is_refused_and_not_shown(
    tmp_path: Path, section: str, key: str, text: str
) -> None:
    lines = refuse_text(tmp_path, f"{STREAM}{section}:\n  {key}: {text}\n", SET=CANARY)
    assert lines[0] == (
        f"pipeline.yaml:6: {section}.{key}: secrets do not belong into the file: write {key}: "
        "${NAME} and set that environment variable"
    )
    assert not any("C4NARY" in line or "0123456789" in line for line in lines)


@pytest.mark.parametrize(
    "text",
    [
        f"*{CANARY}",
        f"!{CANARY}",
        f"!{CANARY} x",
        f"!a!{CANARY} x",
        f"!{CANARY}!a x",
        f"@{CANARY}",
        f"%{CANARY}",
        f"`{CANARY}",
        f"&{CANARY} x: y",
        f'"\\{CANARY}"',
        f"'{CANARY}",
        f'"{CANARY}',
        f"[{CANARY}",
        f"{{{CANARY}",
        f"|{CANARY}",
        f"a: {CANARY}: b",
        f"${{{CANARY}",
        f"&{CANARY} &{CANARY} x",
    ],
)
def test_a_secret_that_means_something_in_yaml_is_not_shown(tmp_path: Path, text: str) -> None:
    lines = refuse_text(tmp_path, f"{STREAM}postgres:\n  password: {text}\n")
    assert lines
    assert not any("C4NARY" in line for line in lines)


@settings(max_examples=300, deadline=None)
@given(before=st.text(alphabet="*&!@%`'\"\\{}[]|>-?:,# $~<a1", max_size=4), quote=st.booleans())
def test_no_way_to_write_a_secret_shows_it(
    tmp_path_factory: pytest.TempPathFactory, before: str, quote: bool
) -> None:
    path = tmp_path_factory.mktemp("any") / "pipeline.yaml"
    end = "'" if quote else ""
    path.write_text(f"{STREAM}postgres:\n  password: {before}{CANARY}{end}\n", "utf-8")
    found = load_or_refuse(path)
    if isinstance(found, str):
        assert "C4NARY" not in found
    else:
        assert found.settings.postgres.password is None  # a comment, or a key without value


@pytest.mark.parametrize(
    "text",
    [
        f"postgres: {{pasword: {CANARY}}}\n",
        f"kafka: {{password: {CANARY}}}\n",
        f"password: {CANARY}\n",
        f"postgres: {CANARY}\n",
        f"kafka: [{CANARY}]\n",
        f"postgres: {{host: 'postgres://u:{CANARY}@db/x'}}\n",
        f"postgres: {{password: {CANARY}, password: {CANARY}}}\n",
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(tmp_path: Path, text: str) -> None:
    lines = refuse_text(tmp_path, text + STREAM)
    assert lines
    assert not any("C4NARY" in line for line in lines)


def test_the_variables_of_secrets_are_told_by_their_keys(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, BOTH, PG_SECRET=CANARY)
    assert loaded.secret_variables == {"postgres.password": "PG_SECRET", "kafka.sasl_password": "K"}
    assert loaded.settings.postgres.password == SecretStr(CANARY)
    assert loaded.settings.kafka.sasl_password is None


@pytest.mark.parametrize("text", ["", "''", "~"])
def test_a_secret_without_a_value_is_not_named(tmp_path: Path, text: str) -> None:
    loaded = load_text(tmp_path, f"{STREAM}postgres:\n  password: {text}\n")
    assert (loaded.settings.postgres.password, loaded.secret_variables) == (None, {})


def test_an_unset_variable_of_a_secret_is_named_without_offering_a_default(tmp_path: Path) -> None:
    (line,) = refuse_text(tmp_path, f"{STREAM}postgres:\n  password: ${{PG_SECRET}}\n")
    assert line == (
        "pipeline.yaml:6: postgres.password: the environment variable PG_SECRET is not set, or "
        "empty; set it, or write ${PG_SECRET:-}"
    )


def find_keys(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Node]]:
    """Every key of the schema below a node; ``x`` stands for the names that a user gives."""
    for choice in node.get("anyOf", [node]):
        children = dict(choice.get("properties", {}))
        if isinstance(choice.get("additionalProperties"), dict):
            children["x"] = choice["additionalProperties"]
        for name, child in children.items():
            yield (*path, name), child
            yield from find_keys(child, (*path, name))


def test_the_keys_that_are_guarded_are_those_that_the_published_schema_calls_secret() -> None:
    keys = list(find_keys(build_schema()))
    secret = {path for path, node in keys if node.get("writeOnly")}
    assert secret == {
        *KEYS,
        ("aiven", "token"),
        ("schema_registry", "password"),
        ("alerts", "webhook"),
    }
    assert {path for path, _ in keys if is_secret(path)} == secret


def test_no_settings_object_shows_a_secret(tmp_path: Path) -> None:
    environment = {"PG_SECRET": CANARY, "K": CANARY, "PGHOST": "db", "KAFKA_BOOTSTRAP_SERVERS": "k"}
    loaded = load_text(tmp_path, BOTH, **environment)
    endpoints = resolve_endpoints(loaded.settings, environment)
    assert endpoints.postgres.password == SecretStr(CANARY)
    shown: list[object] = [loaded, loaded.settings, endpoints]
    models: list[BaseModel] = [loaded.settings, endpoints.kafka, endpoints.postgres]
    shown += [thing for model in models for thing in (model.model_dump(), model.model_dump_json())]
    for thing in shown:
        assert "C4NARY" not in repr(thing)
        assert "C4NARY" not in str(thing)


def test_errors_of_the_models_show_no_value() -> None:
    kafka = {"sasl_password": CANARY, "security_protocol": "SASL_SSL"}
    with pytest.raises(ValidationError) as caught:
        PipelineSettings.model_validate({"kafka": kafka, "streams": {}, CANARY[:3]: CANARY})
    assert "SASL_SSL also needs" in str(caught.value)
    assert "hunter2" not in str(caught.value) + repr(caught.value)
    resource = KafkaResource(
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_username="u",
        sasl_password=CANARY,
    )
    with pytest.raises(ValidationError) as caught:
        resource.settings()
    assert "allow_insecure" in str(caught.value)
    assert "hunter2" not in str(caught.value) + repr(caught.value)
