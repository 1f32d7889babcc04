"""The published JSON Schema: up to date, and of one mind with the pipeline."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

import kafka_pg_pipeline
from kafka_pg_pipeline.settings.schema import build_published_schema
from kafka_pg_pipeline_tests.docs.blocks import ROOT, read_blocks
from kafka_pg_pipeline_tests.settings_files import STREAM, load_text, refuse_text

SCRIPT = ROOT / "tools" / "publish_settings.py"
SCHEMA = ROOT / "docs" / "pipeline.schema.json"
PAGE = ROOT / "docs" / "configuration.md"
DEMO = Path(kafka_pg_pipeline.__file__).parent / "settings" / "demo.yaml"


class EditorLoader(yaml.SafeLoader):
    """YAML 1.2, as editors read it: times are text, and only true and false are neither."""


EditorLoader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if not tag.endswith((":timestamp", ":bool"))]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
EditorLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("(true|false)$"), ["t", "f"]
)


def faults_of(text: str) -> list[str]:
    """What an editor underlines in a file: paths and messages."""
    document = yaml.load(text, EditorLoader)
    validator = Draft7Validator(json.loads(SCHEMA.read_text("utf-8")))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def publish(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"},
    )


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """The published documents, to be changed."""
    for path in (SCHEMA, PAGE):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_the_published_documents_are_what_the_models_say() -> None:
    checked = publish("--check")
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (SCHEMA.name, '"default": 50000', '"default": 5000'),
        (SCHEMA.name, "records in one batch", "rows in one batch"),
        (PAGE.name, "| `50000` |", "| `5000` |"),
        (PAGE.name, "| `topic` | a topic", "| `topics` | a topic"),
    ],
)
def test_a_document_that_differs_is_named_and_made_anew(
    documents: Path, name: str, old: str, new: str
) -> None:
    path = documents / name
    published = path.read_text("utf-8")
    assert old in published
    path.write_text(published.replace(old, new), "utf-8")
    checked = publish("--check", "--docs", str(documents))
    assert checked.returncode == 1
    assert checked.stderr == f"{path} differs from the models: python tools/publish_settings.py\n"
    assert publish("--docs", str(documents)).stdout == f"{path}\n"
    assert path.read_text("utf-8") == published
    assert publish("--docs", str(documents)).stdout == ""


def test_a_schema_that_is_missing_is_written_and_a_page_without_marks_refused(
    documents: Path,
) -> None:
    (documents / SCHEMA.name).unlink()
    assert publish("--check", "--docs", str(documents)).returncode == 1
    assert publish("--docs", str(documents)).returncode == 0
    assert (documents / SCHEMA.name).read_bytes() == SCHEMA.read_bytes()
    (documents / PAGE.name).write_text("# No tables\n", "utf-8")
    refused = publish("--docs", str(documents))
    assert refused.returncode == 1
    assert "configuration.md lacks the lines" in refused.stderr


def test_the_schema_is_one() -> None:
    Draft7Validator.check_schema(json.loads(SCHEMA.read_text("utf-8")))


def list_nodes(node: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, node)]
    for name, child in node.get("properties", {}).items():
        found += list_nodes(child, f"{path}.{name}".removeprefix("."))
    if isinstance(node.get("additionalProperties"), dict):
        found += list_nodes(node["additionalProperties"], f"{path}.*")
    return found


def test_editors_find_a_description_of_every_key_and_each_default() -> None:
    nodes = dict(list_nodes(build_published_schema()))
    free = ("columns.*", "tags.*")  # keys of the user's own
    keys = {path: node for path, node in nodes.items() if not path.endswith(free)}
    assert [path for path, node in keys.items() if not node.get("description")] == []
    defaults = {path: node["default"] for path, node in keys.items() if "default" in node}
    assert defaults["postgres.port"] == 5432
    assert defaults["postgres.schema"] == "kafka_pg"
    assert defaults["streams.*.create"] is True
    assert defaults["streams.*.batch.max_bytes"] == "64MiB"
    assert defaults["streams.*.dead_letters.max_share"] == 0.1
    assert nodes["streams.*"]["required"] == ["topic", "table"]


def test_the_examples_pass() -> None:
    examples = [
        block.text
        for page in (PAGE, ROOT / "README.md")
        for block in read_blocks(page)
        if block.language == "yaml"
    ]
    assert len(examples) > 3
    for text in (*examples, DEMO.read_text("utf-8")):
        assert faults_of(text) == []


ACCEPTED = [
    "",
    "start: latest",
    "start: 2026-01-31T12:00:00Z",
    "start: 2026-01-31 12:00:00.5+02:00",
    "create: false",
    "batch: {max_rows: 1, max_bytes: 64MiB, max_seconds: 0.5}",
    "batch: {max_bytes: 65536}",
    "batch:",
    "metadata:",
    "metadata: [partition, offset, key]",
    "metadata: {partition: p, offset: o}",
    "metadata: []",
    "columns: {id: bigint, price: 'numeric(12,2)'}",
    "dead_letters: {max_records: 0, max_share: 0}",
    "schedule: '*/5 * * * *'",
    "asset: {owners: [a.b@example.com, 'team:data_1'], tags: {'x/domain': sales}, group: g_1}",
    "schedule: '@daily'",
    "source: {kind: file, file: events.jsonl}",
    "create: ${YES}",
    "mode: ${APPEND}",
    "start: ${START}",
    "schedule: ${CRON}",
    "schedule: '*/${FIVE} * * * *'",
    "metadata: ['${OFFSET}', partition]",
    "metadata: {offset: '${OFFSET}'}",
    "batch: {max_rows: '${FIVE}', max_bytes: '${FIVE}MiB', max_seconds: '${NOTHING:-5}'}",
    "dead_letters: {max_share: '0.${FIVE}'}",
    "batch: &b {max_rows: 5}\n    dead_letters: {<<: {max_records: 5}}",
]
REFUSED = [
    "fromat: json",
    "fromat:",
    "mode: update",
    "start: erliest",
    "start: 2026-01-31",
    "start: 2026-01-31T12:00:00",
    "start: 5",
    "create: perhaps",
    "create: 2",
    "batch: 5",
    "batch: {max_rows: many}",
    "batch: {max_rows: 0}",
    "batch: {max_rows: 1.5}",
    "batch: {max_rows: true}",
    "batch: {max_bytes: 64M}",
    "batch: {max_bytes: 1000}",
    "batch: {max_seconds: 0}",
    "batch: {max_seconds: 3601}",
    "metadata: [ofset]",
    "metadata: [offset, offset]",
    "metadata: {ofset: a}",
    "metadata: {offset: }",
    "metadata: offset",
    "metadata: ${OFFSET}",
    "columns: [id]",
    "columns: {id: }",
    "columns: {'': text}",
    "dead_letters: {max_share: 1.1}",
    "schedule: every day",
    "schedule: 5",
    "source: {kind: topic}",
    "source: {count: 0}",
]
ENVIRONMENT = {
    "YES": "yes",
    "APPEND": "append",
    "START": "latest",
    "CRON": "@daily",
    "FIVE": "5",
    "OFFSET": "offset",
    "SECRET": "s",
}


@pytest.mark.parametrize("added", ACCEPTED)
def test_what_a_stream_may_hold_passes_in_the_editor_too(tmp_path: Path, added: str) -> None:
    text = f"{STREAM}    {added}\n"
    assert "orders" in load_text(tmp_path, text, **ENVIRONMENT).settings.streams
    assert faults_of(text) == []


@pytest.mark.parametrize("added", REFUSED)
def test_what_a_stream_may_not_hold_is_underlined_in_the_editor(tmp_path: Path, added: str) -> None:
    text = f"{STREAM}    {added}\n"
    assert refuse_text(tmp_path, text, **ENVIRONMENT)
    key = added.partition(":")[0]
    (fault,) = faults_of(text)
    assert fault.startswith("$.streams.orders")
    assert key in fault


@pytest.mark.parametrize(
    "text",
    [
        f"kafka:\npostgres:\n{STREAM}",
        f"kafka: {{sasl_password: '${{SECRET}}', request_timeout_seconds: 5}}\n{STREAM}",
        f"postgres: {{port: '${{FIVE}}', password: '${{SECRET:-}}', sslmode: require}}\n{STREAM}",
        "streams: {}\n",
        "streams: {a: {topic: '${CRON:-t}', table: 'p.${CRON:-t}'}}\n",
    ],
)
def test_sections_that_pass(tmp_path: Path, text: str) -> None:
    environment = {name: ENVIRONMENT[name] for name in ("FIVE", "SECRET")}
    assert load_text(tmp_path, text, **environment).path is not None
    assert faults_of(text) == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("kafka: {}\n", "$: 'streams'"),
        (f"kafak: {{}}\n{STREAM}", "$: "),
        (f"kafka: text\n{STREAM}", "$.kafka: "),
        (f"kafka: {{reader: fast}}\n{STREAM}", "$.kafka.reader: "),
        (f"postgres: {{port: 70000}}\n{STREAM}", "$.postgres.port: "),
        (f"postgres: {{schema: Big}}\n{STREAM}", "$.postgres.schema: "),
        (f"postgres: {{schema_name: x}}\n{STREAM}", "$.postgres: "),
        (f"postgres: {{password: in-clear}}\n{STREAM}", "$.postgres.password: "),
        (f"postgres: {{password: '${{SECRET:-in-clear}}'}}\n{STREAM}", "$.postgres.password: "),
        (f"kafka: {{sasl_password: 'a${{SECRET}}'}}\n{STREAM}", "$.kafka.sasl_password: "),
        ("streams: []\n", "$.streams: "),
        ("streams: {a: }\n", "$.streams.a: "),
        ("streams: {A-b: {topic: t, table: t}}\n", "$.streams: "),
        ("streams: {a: {topic: t}}\n", "$.streams.a: 'table'"),
        ("streams: {a: {topic: a b, table: t}}\n", "$.streams.a.topic: "),
        ("streams: {a: {topic: .., table: t}}\n", "$.streams.a.topic: "),
        ("streams: {a: {topic: t, table: a.b.c}}\n", "$.streams.a.table: "),
    ],
)
def test_sections_that_do_not(tmp_path: Path, text: str, place: str) -> None:
    assert refuse_text(tmp_path, text, **ENVIRONMENT)
    (fault,) = faults_of(text)
    assert fault.startswith(place)


@pytest.mark.parametrize(
    "added", ["create: no", "create: 'true'", "batch: {max_rows: '5'}", "mode:", "topic2: ''"]
)
def test_the_editor_is_the_stricter_one(added: str) -> None:
    assert len(faults_of(f"{STREAM}    {added}\n")) == 1
