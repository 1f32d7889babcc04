"""``${NAME}`` in a configuration file."""

from pathlib import Path

import pytest

from kafka_pg_pipeline_tests.settings_files import (
    STREAM,
    load_stream,
    load_text,
    refuse_stream,
    refuse_text,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${HOST}", "db"),
        ("'${HOST}'", "db"),
        ("${HOST:-other}", "db"),
        ("${UNSET:-other}", "other"),
        ("${EMPTY:-other}", "other"),
        ("${UNSET:-a b/c:d-e}", "a b/c:d-e"),
        ("pre-${HOST}.${UNSET:-example}.com", "pre-db.example.com"),
        ("$${HOST}", "${HOST}"),
        ("$${HOST}-${HOST}", "${HOST}-db"),
        ("$HOST", "$HOST"),
        ("$", "$"),
        ("${LOOKS_LIKE_ONE}", "${HOST}"),
        ("${_0}", "underscore"),
    ],
)
def test_references_within_text(tmp_path: Path, text: str, value: str) -> None:
    environment = {"HOST": "db", "EMPTY": "", "LOOKS_LIKE_ONE": "${HOST}", "_0": "underscore"}
    loaded = load_text(tmp_path, f"postgres:\n  host: {text}\n{STREAM}", **environment)
    assert loaded.settings.postgres.host == value


@pytest.mark.parametrize("text", ["${UNSET:-}", "'${UNSET:-}'", "${EMPTY:-}", "''", ""])
def test_an_empty_value_counts_as_not_named(tmp_path: Path, text: str) -> None:
    loaded = load_text(tmp_path, f"postgres:\n  host: {text}\n  port: {text}\n{STREAM}", EMPTY="")
    assert loaded.settings.postgres.model_fields_set == set()


def test_numbers_sizes_and_booleans_may_come_from_the_environment(tmp_path: Path) -> None:
    stream = load_stream(
        tmp_path,
        "create: ${CREATE}\n"
        "    batch: {max_rows: '${ROWS}', max_bytes: '${SIZE}', max_seconds: '${SECONDS}'}\n"
        "    dead_letters: {max_share: '0.${SHARE}'}\n"
        "    start: ${START}",
        CREATE="no",
        ROWS="1_000",
        SIZE="2MiB",
        SECONDS="0.5",
        SHARE="25",
        START="latest",
    )
    assert (stream.create, stream.start, stream.dead_letters.max_share) == (False, "latest", 0.25)
    batch = stream.batch
    assert (batch.max_rows, batch.max_bytes, batch.max_seconds) == (1000, 2 * 2**20, 0.5)


def test_items_of_a_list_may_come_from_the_environment(tmp_path: Path) -> None:
    stream = load_stream(tmp_path, "metadata: ['${WHICH}', partition]", WHICH="offset")
    assert list(stream.metadata.values()) == ["kafka_offset", "kafka_partition"]


@pytest.mark.parametrize("environment", [{}, {"NAME": ""}], ids=["unset", "empty"])
def test_a_variable_that_is_not_set_is_named_with_line_and_key(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    lines = refuse_text(
        tmp_path,
        f"{STREAM}kafka:\n  bootstrap_servers: '${{NAME}}:9092'\npostgres:\n  port: ${{NAME}}\n",
        **environment,
    )
    said = "the environment variable NAME is not set, or empty; set it, or write ${NAME:-default}"
    assert lines == [
        f"pipeline.yaml:6: kafka.bootstrap_servers: {said}",
        f"pipeline.yaml:8: postgres.port: {said}",
    ]


def test_several_variables_of_one_value_are_all_named(tmp_path: Path) -> None:
    lines = refuse_stream(tmp_path, "schedule: ${ONE} ${TWO:-*} ${THREE} * *")
    assert [line.split(" is not set")[0] for line in lines] == [
        "pipeline.yaml:5: streams.orders.schedule: the environment variable ONE",
        "pipeline.yaml:5: streams.orders.schedule: the environment variable THREE",
    ]


def test_an_item_of_a_list_that_is_not_set_is_named(tmp_path: Path) -> None:
    (line,) = refuse_stream(tmp_path, "metadata:\n    - offset\n    - ${NAME}")
    assert line.startswith("pipeline.yaml:7: streams.orders.metadata[1]: the environment variable")


def test_an_unknown_key_is_told_beside_its_unset_variable(tmp_path: Path) -> None:
    unset, unknown = refuse_stream(tmp_path, "scedule: ${NAME}")
    assert "the environment variable NAME is not set" in unset
    assert "did you mean schedule?" in unknown


@pytest.mark.parametrize(
    "text",
    ["${", "${}", "${no-name}", "${1ST}", "${A B}", "${NAME:default}", "${NAME", "${A:-${B}}"],
)
def test_what_only_looks_like_a_reference_is_refused(tmp_path: Path, text: str) -> None:
    lines = refuse_text(tmp_path, f"{STREAM}postgres:\n  host: '{text}'\n", NAME="x", A="x", B="x")
    assert lines == [
        "pipeline.yaml:6: postgres.host: this is no reference; allowed: ${NAME}, ${NAME:-default}, "
        "or $${ for the characters themselves"
    ]


def test_keys_are_no_place_for_references(tmp_path: Path) -> None:
    (line,) = refuse_stream(tmp_path, "columns: {'${NAME}': text}", NAME="id")
    assert line == (
        "pipeline.yaml:5: streams.orders.columns.${NAME}: references stand in values, not in keys"
    )


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("port: ${NAME}", "a whole number from 1 to 65535"),
        ("lock_timeout_seconds: ${NAME}", "a number above 0, 600 at most"),
        ("sslmode: ${NAME}", "'disable', 'allow'"),
        ("schema: ${NAME}", "a name of lower-case letters"),
        ("host: ${NAME}", "a URI is no host"),
    ],
)
def test_a_value_of_the_environment_that_does_not_fit_is_not_shown(
    tmp_path: Path, key: str, allowed: str
) -> None:
    (line,) = refuse_text(tmp_path, f"postgres:\n  {key}\n{STREAM}", NAME="x://C4NARY")
    assert line.startswith(f"pipeline.yaml:2: postgres.{key.partition(':')[0]}: ")
    assert allowed in line
    assert "C4NARY" not in line


@pytest.mark.parametrize(
    "added", ["batch: {max_bytes: '${NAME}'}", "start: ${NAME}", "create: ${NAME}"]
)
def test_nor_is_one_of_a_stream(tmp_path: Path, added: str) -> None:
    (line,) = refuse_stream(tmp_path, added, NAME="12 C4NARY")
    assert "allowed: " in line
    assert "C4NARY" not in line
