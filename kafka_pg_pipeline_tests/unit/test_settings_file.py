"""Which configuration file is read, and what its paths are relative to."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kafka_pg_pipeline.cli.configuration import read_configuration
from kafka_pg_pipeline.cli.invocation import Invocation
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.settings.file import load_settings
from kafka_pg_pipeline_tests.settings_files import STREAM, load_text

NOBODY = 65_534


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_stream(path: Path, topic: str) -> Path:
    path.write_text(f"streams: {{a: {{topic: {topic}, table: t}}}}\n", "utf-8")
    return path


def topics_of(path: Path | None, **environment: str) -> list[str]:
    return [stream.topic for stream in load_settings(path, environment).settings.streams.values()]


def test_the_named_file_wins_then_the_variable_then_the_directory_then_the_demo(
    directory: Path,
) -> None:
    named = write_stream(directory / "named.yaml", "named")
    variable = write_stream(directory / "variable.yaml", "variable")
    assert topics_of(None) == ["kafka_pg_demo.events"]
    assert load_settings(None, {}).path is None
    found = write_stream(directory / "pipeline.yaml", "found")
    assert topics_of(None) == ["found"]
    assert load_settings(None, {}).path == found
    assert topics_of(None, KAFKA_PG_CONFIG=str(variable)) == ["variable"]
    assert topics_of(None, KAFKA_PG_CONFIG="variable.yaml") == ["variable"]
    assert topics_of(named, KAFKA_PG_CONFIG=str(variable)) == ["named"]
    assert topics_of(None, KAFKA_PG_CONFIG="") == ["found"]


@pytest.mark.parametrize(
    ("option", "variable", "topic"),
    [
        ("named.yaml", "variable.yaml", "named"),
        (None, "variable.yaml", "variable"),
        ("", "", "found"),
    ],
)
def test_the_option_of_the_command_line_wins(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: str | None,
    variable: str,
    topic: str,
) -> None:
    for name in ("named", "variable"):
        write_stream(directory / f"{name}.yaml", name)
    write_stream(directory / "pipeline.yaml", "found")
    monkeypatch.setenv("KAFKA_PG_CONFIG", variable)
    loaded = read_configuration(Invocation(config=option))
    assert [stream.topic for stream in loaded.settings.streams.values()] == [topic]


def test_the_variable_may_begin_with_the_home_directory(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(directory))
    write_stream(directory / "mine.yaml", "mine")
    assert topics_of(None, KAFKA_PG_CONFIG="~/mine.yaml") == ["mine"]


def refusal(path: Path | None, **environment: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path, environment)
    return str(caught.value)


@pytest.mark.parametrize("named", [True, False], ids=["named", "variable"])
def test_a_named_file_that_is_missing_is_an_error_even_beside_another(
    directory: Path, named: bool
) -> None:
    write_stream(directory / "pipeline.yaml", "found")
    said = refusal(Path("none.yaml")) if named else refusal(None, KAFKA_PG_CONFIG="none.yaml")
    assert said == (
        "none.yaml: there is no such file; name one with -c or KAFKA_PG_CONFIG, or leave both out "
        "to run the built-in demo"
    )


def test_a_link_to_nowhere_is_not_taken_for_no_file(directory: Path) -> None:
    (directory / "pipeline.yaml").symlink_to("none.yaml")
    assert refusal(None).startswith("pipeline.yaml: there is no such file")


def test_a_directory_is_no_file(directory: Path) -> None:
    (directory / "pipeline.yaml").mkdir()
    assert refusal(None) == "pipeline.yaml: cannot be read: Is a directory"


def test_a_file_below_a_file_cannot_be_read(directory: Path) -> None:
    write_stream(directory / "pipeline.yaml", "found")
    said = refusal(Path("pipeline.yaml/below.yaml"))
    assert said == "pipeline.yaml/below.yaml: cannot be read: Not a directory"


@contextmanager
def without_root() -> Iterator[None]:
    """As a user who may not read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "pipeline.yaml", "found")
    path.chmod(0)
    with without_root():
        assert refusal(path) == f"{path}: cannot be read: Permission denied"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", "streams: é".encode("latin-1")])
def test_a_file_that_is_not_utf_8(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_bytes(content)
    assert refusal(path) == f"{path}: the file is not UTF-8 text"


PATHS = f"""{STREAM}    source: {{kind: file, file: "events/${{NAME:-one}}.jsonl"}}
kafka:
  ssl_cafile: ca.pem
  ssl_certfile: ../certs/me.pem
  ssl_keyfile: /etc/keys/me.key
postgres:
  sslrootcert: ~/pg.pem
"""


@pytest.mark.parametrize("elsewhere", [True, False], ids=["absolute", "relative"])
def test_paths_are_relative_to_the_file(
    directory: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    file = directory / "conf" / "pipeline.yaml"
    file.parent.mkdir()
    file.write_text(PATHS, "utf-8")
    loaded = load_settings(file if elsewhere else Path("conf/pipeline.yaml"), {})
    settings = loaded.settings
    source = settings.streams["orders"].source
    assert source is not None
    assert source.file == directory / "conf/events/one.jsonl"
    assert settings.kafka.ssl_cafile == directory / "conf/ca.pem"
    assert settings.kafka.ssl_certfile == directory / "conf/../certs/me.pem"
    assert settings.kafka.ssl_keyfile == Path("/etc/keys/me.key")
    assert settings.postgres.sslrootcert == Path("/home/me/pg.pem")
    assert loaded.path == file


def test_a_path_of_a_user_who_does_not_exist_stays_as_it_is(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, f"{STREAM}kafka: {{ssl_cafile: ~nobody-of-this-name/ca.pem}}\n")
    assert loaded.settings.kafka.ssl_cafile == tmp_path / "~nobody-of-this-name/ca.pem"


def test_settings_do_not_change(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, STREAM)
    with pytest.raises(ValueError, match="frozen"):
        loaded.settings.postgres.port = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        loaded.secret_variables["postgres.password"] = "X"  # type: ignore[index]
