"""The sensor ``alert_on_failure``: real runs that fail, and a webhook that takes it or does not."""

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from kafka_pg_pipeline.adapters.webhook import WebhookError, post_text
from kafka_pg_pipeline.definitions import build_definitions
from kafka_pg_pipeline.settings.file import load_settings
from kafka_pg_pipeline_tests.configuration import PASSWORD_VARIABLE
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker
from kafka_pg_pipeline_tests.orchestration.conftest import Location
from kafka_pg_pipeline_tests.orchestration.dagster_dev import dagster_dev
from kafka_pg_pipeline_tests.waiting import wait_until

PATH = "/services/T00/B00/very-secret"
UI = "https://dagster.example.com"


@dataclass
class Webhook:
    """A server that takes messages, with the answers that a test wants, then 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    found = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.asked += 1
            status = found.answers.pop(0) if found.answers else 200
            if status == 200:
                assert self.path == PATH
                found.taken.append(body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            if 300 <= status < 400:
                self.send_header("Location", f"http://127.0.0.1:1{PATH}")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}{PATH}"
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def make_alerted(make_location: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A location whose file names a webhook."""

    def make(bench: Bench, url: str, also: Bench | None = None) -> Location:
        location = make_location(*filter(None, (bench, also)))
        document = yaml.safe_load(location.file.read_text())
        document["alerts"] = {"webhook": "${TEST_WEBHOOK}", "ui_url": UI}
        location.file.write_text(yaml.safe_dump(document))
        monkeypatch.setenv("TEST_WEBHOOK", url)
        environment = {**location.environment, "TEST_WEBHOOK": url}
        loaded = load_settings(location.file, environment)
        return Location(location.file, environment, build_definitions(loaded))

    return make


def alert(location: Location, instance: dg.DagsterInstance, result: Any) -> Any:
    """What the sensor makes of a run that failed."""
    repository = location.definitions.get_repository_def()
    sensor = repository.get_sensor_def("alert_on_failure")
    run = instance.get_run_by_id(result.run_id)
    [failed] = [e for e in result.all_events if e.event_type_value == "PIPELINE_FAILURE"]
    context = dg.build_run_status_sensor_context(
        "alert_on_failure",
        failed,
        instance,
        run,
        resources=dict(location.definitions.resources or {}),
    ).for_run_failure()
    return sensor(context)


def fail(location: Location, instance: dg.DagsterInstance, name: str, **tags: str) -> Any:
    job = location.job(f"load_{name}")
    result = job.execute_in_process(instance=instance, raise_on_error=False, tags=tags)
    assert not result.success
    return result


def test_a_failed_run_is_told_with_its_stream_and_cure(
    bench: Bench, make_alerted: Any, instance: dg.DagsterInstance, webhook: Webhook
) -> None:
    """The records that stopped it hold a word that must not travel."""
    bench.create_topic()
    bench.produce([{"id": 1}])
    bench.load()
    bench.query("DROP TABLE {table}")
    bench.produce([{"id": 2, "word": "confidential"}])
    location = make_alerted(bench, webhook.url)
    result = fail(location, instance, bench.name)
    assert alert(location, instance, result) is None
    [message] = webhook.taken
    assert list(message) == ["text"]
    first, *middle, last = message["text"].splitlines()
    assert first == (
        f"Run {result.run_id[:8]} failed: stream {bench.name} "
        f"({bench.stream.topic} → {bench.stream.table})".replace(">", "&gt;")
    )
    assert "kafka-pg reset" in "\n".join(middle)
    assert last == f"{UI}/runs/{result.run_id}"
    assert "confidential" not in message["text"]
    assert location.environment[PASSWORD_VARIABLE] not in message["text"]


def test_a_fault_that_outlasted_its_retries_is_told_in_our_words(
    bench: Bench,
    make_alerted: Any,
    instance: dg.DagsterInstance,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("_LEAST_WAIT_SECONDS", "_MOST_WAIT_SECONDS"):
        monkeypatch.setattr(f"kafka_pg_pipeline.orchestration.failures.{name}", 0.1)
    bench = bench.with_postgres(port=1)
    location = make_alerted(bench, webhook.url)
    job = location.job("purge")
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    alert(location, instance, result)
    assert "nothing listens there: is PostgreSQL running?" in webhook.taken[0]["text"]


def test_what_nobody_foresaw_is_told_without_its_words(
    bench: Bench,
    make_alerted: Any,
    instance: dg.DagsterInstance,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def burst(*_: Any, **__: Any) -> None:
        raise ValueError("confidential")

    monkeypatch.setattr("kafka_pg_pipeline.orchestration.loading.open_session", burst)
    location = make_alerted(bench, webhook.url)
    alert(location, instance, fail(location, instance, bench.name))
    [message] = webhook.taken
    assert "ValueError: this was not foreseen" in message["text"]
    assert "confidential" not in message["text"]


def test_a_run_of_several_streams_is_told_with_those_that_failed(
    bench: Bench,
    bench_maker: BenchMaker,
    make_alerted: Any,
    instance: dg.DagsterInstance,
    webhook: Webhook,
) -> None:
    other = bench_maker.make(bench.endpoints.kafka, bench.endpoints.postgres)
    other.create_topic()
    location = make_alerted(bench, webhook.url, also=other)
    job = location.job("streams_to_postgres")
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    alert(location, instance, result)
    [message] = webhook.taken
    assert f"failed: stream {bench.name} ({bench.stream.topic}" in message["text"]
    assert "1 of 2 streams could not be loaded" in message["text"]
    assert other.name not in message["text"]


def test_a_run_that_is_tried_again_is_not_told(
    bench: Bench, make_alerted: Any, instance: dg.DagsterInstance, webhook: Webhook
) -> None:
    location = make_alerted(bench, webhook.url)
    result = fail(location, instance, bench.name, **{"dagster/will_retry": "true"})
    assert "will be tried again" in str(alert(location, instance, result).skip_message)
    assert webhook.asked == 0


def test_a_webhook_that_is_down_is_a_warning_without_its_address(
    bench: Bench,
    make_alerted: Any,
    instance: dg.DagsterInstance,
    webhook: Webhook,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    webhook.answers = [500] * 4
    location = make_alerted(bench, webhook.url)
    result = fail(location, instance, bench.name)
    caplog.clear()
    assert alert(location, instance, result) is None
    said = caplog.text + "".join(capfd.readouterr())
    assert "failed and nobody was told" in said
    assert "HTTP 500" in said
    assert PATH not in said
    assert webhook.asked == 4


def test_a_short_outage_is_bridged(webhook: Webhook) -> None:
    webhook.answers = [503, 429]
    post_text(webhook.url, "x")
    assert webhook.taken == [{"text": "x"}]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"http://127.0.0.1:1{PATH}", "it cannot be reached"),
        (f"https://nowhere.invalid{PATH}", "it cannot be reached"),
        (f"nonsense{PATH}", r"it cannot be asked \(MissingSchema\)"),
        ("http://[::1", r"it cannot be asked \(InvalidURL\)"),
    ],
)
def test_a_wrong_address_is_not_repeated(
    url: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(WebhookError, match=said) as raised:
        post_text(url, "x")
    assert PATH not in caplog.text
    assert raised.value.__context__ is None
    assert "secret" not in str(raised.value)


def test_a_redirect_takes_the_message_nowhere(webhook: Webhook) -> None:
    webhook.answers = [302]
    with pytest.raises(WebhookError, match="HTTP 302"):
        post_text(webhook.url, "x")


def test_without_a_webhook_there_is_no_such_sensor(bench: Bench, make_location: Any) -> None:
    sensors = make_location(bench).definitions.sensors or ()
    assert [sensor.name for sensor in sensors] == ["new_offsets_sensor"]


def test_the_address_shows_nowhere_in_the_definitions(
    bench: Bench, make_alerted: Any, webhook: Webhook
) -> None:
    location = make_alerted(bench, webhook.url)
    assert PATH not in repr(location.definitions.resources)
    assert PATH not in location.file.read_text()


def test_a_whole_dagster_tells_of_a_run_that_failed(
    bench: Bench, make_alerted: Any, webhook: Webhook, tmp_path: Path
) -> None:
    """The first answer is that the webhook is down; the next failed run is told all the same."""
    webhook.answers = [500] * 4
    location = make_alerted(bench, webhook.url)
    extra = {**location.environment, "KAFKA_PG_START_SENSORS": "1"}
    with dagster_dev(tmp_path / "home", extra) as dev:
        wait_until(lambda: dev.sensor_ticks("alert_on_failure"), 60)
        dev.launch(f"load_{bench.name}")
        wait_until(lambda: webhook.asked >= 4, 120)
        run_id = dev.launch(f"load_{bench.name}")
        wait_until(lambda: any(run_id in message["text"] for message in webhook.taken), 120)
        ticks = dev.sensor_ticks("alert_on_failure")
        log = dev.log.read_text()
    assert {tick["status"] for tick in ticks} <= {"STARTED", "SKIPPED", "SUCCESS"}
    assert PATH not in log
    kept = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert kept
    assert all(PATH.encode() not in path.read_bytes() for path in kept)
