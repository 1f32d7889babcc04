"""Downloading, checking and keeping Kafka's jars."""

import contextlib
import functools
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_pg_pipeline.local import artefacts, files
from kafka_pg_pipeline.local.artefacts import default_cache, fetch_kafka_jars
from kafka_pg_pipeline.local.errors import LocalStackError
from kafka_pg_pipeline.local.lockfile import LockedJar, list_locked_versions, parse_lock, read_lock

SMALL_JAR = next(jar for jar in read_lock("4.2.0") if jar.artifact == "jspecify")


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def _serving(folder: Path) -> Iterator[str]:
    handler = functools.partial(_QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def _nothing_but_the_mirror(
    tmp_path: Path, downloaded_jars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No local Maven repository, and a network on which nothing answers."""
    del downloaded_jars  # fetched before the network goes
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("M2_REPO", str(tmp_path / "no-maven-repository"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def _name_mirror(tmp_path: Path, url: str) -> None:
    settings = tmp_path / "home" / ".config" / "jgo.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"[repositories]\ncentral = {url}\n")


def _damage(cache: Path, jar: LockedJar, content: bytes) -> Path:
    path = cache / "jars" / jar.relative_path
    path.unlink()
    path.write_bytes(content)
    return path


def test_locks_of_both_versions_are_shipped_with_a_checksum_for_each_jar() -> None:
    assert list_locked_versions() == ["4.2.0", "3.0.0"]
    for version in list_locked_versions():
        jars = read_lock(version)
        assert len(jars) > 30
        assert all(len(jar.sha256) == 64 for jar in jars)
        assert f"kafka_2.13-{version}.jar" in {jar.file_name for jar in jars}


def test_comments_and_blank_lines_of_a_lock_are_skipped() -> None:
    assert parse_lock("# a\n\norg.a.b:c:1 00ff\n") == [LockedJar("org.a.b", "c", "1", "00ff")]


def test_unknown_version_names_those_that_can_be_had() -> None:
    with pytest.raises(LocalStackError, match=r"'2\.8\.1'.*4\.2\.0, 3\.0\.0"):
        read_lock("2.8.1")


def test_complete_cache_is_used_without_network(linked_cache: Path) -> None:
    told: list[str] = []
    jars = fetch_kafka_jars("4.2.0", cache=linked_cache, progress=told.append)
    assert len(jars) == len(read_lock("4.2.0"))
    assert told == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half of it"])
def test_damaged_jar_is_downloaded_again(
    linked_cache: Path, tmp_path: Path, downloaded_jars: Path, content: bytes
) -> None:
    path = _damage(linked_cache, SMALL_JAR, content)
    told: list[str] = []
    with _serving(downloaded_jars) as url:
        _name_mirror(tmp_path, url)
        fetch_kafka_jars("4.2.0", cache=linked_cache, progress=told.append)
    assert SMALL_JAR.matches(path)
    assert told[0] == "downloading 1 jars of Apache Kafka (once)"


def test_jar_of_the_local_maven_repository_is_taken_before_the_network(
    linked_cache: Path, downloaded_jars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _damage(linked_cache, SMALL_JAR, b"broken")
    monkeypatch.setenv("M2_REPO", str(downloaded_jars))
    fetch_kafka_jars("4.2.0", cache=linked_cache)
    assert SMALL_JAR.matches(path)


def test_wrong_bytes_from_a_mirror_are_refused(linked_cache: Path, tmp_path: Path) -> None:
    path = _damage(linked_cache, SMALL_JAR, b"broken")
    served = tmp_path / "mirror" / SMALL_JAR.relative_path
    served.parent.mkdir(parents=True)
    served.write_bytes(b"something else")
    with _serving(tmp_path / "mirror") as url:
        _name_mirror(tmp_path, url)
        with pytest.raises(LocalStackError, match=r"jspecify.*SHA-256 differs"):
            fetch_kafka_jars("4.2.0", cache=linked_cache)
    assert path.read_bytes() == b"broken"


def test_without_network_one_error_names_the_cures(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(LocalStackError) as caught:
        fetch_kafka_jars("4.2.0", cache=tmp_path / "empty")
    assert time.monotonic() - began < 20
    message = str(caught.value)
    assert "cannot download" in message
    for cure in ("HTTPS_PROXY", "jgo.conf", "KAFKA_HOME", "KAFKA_BOOTSTRAP_SERVERS"):
        assert cure in message
    assert list((tmp_path / "empty").glob(".staging-*")) == []


def test_full_disk_is_named_before_the_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = files.shutil.disk_usage(tmp_path)._replace(free=3_000_000)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(LocalStackError, match=r"has 3 MB free, 150 MB are needed.*KAFKA_PG_CACHE"):
        fetch_kafka_jars("4.2.0", cache=tmp_path / "empty")


def test_unusable_cache_is_one_error_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalStackError, match=r"file.*KAFKA_PG_CACHE"):
        fetch_kafka_jars("4.2.0", cache=tmp_path / "file" / "cache")


def test_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_PG_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert default_cache() == Path("/x/kafka_pg")
    monkeypatch.setenv("KAFKA_PG_CACHE", "/y")
    assert default_cache() == Path("/y")
    assert artefacts.default_cache() == Path("/y")
