"""A whole Dagster on real servers: sensor, secrets, the ways of loading, and the browser."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.ui import WebDriverWait

from kafka_pg_pipeline.local.postgres_server import PostgresServer
from kafka_pg_pipeline_tests.fix_servers import connect, postgres_settings
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.orchestration.dagster_dev import (
    PROGRAMS,
    ROOT,
    child_environment,
    dagster_dev,
)

CANARY = "canary-5af3c1"
SCREENSHOTS = Path(os.environ.get("KAFKA_PG_SCREENSHOTS", "/tmp/kafka_pg_screenshots"))


def wait_for(condition: Callable[[], bool], seconds: float) -> float:
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if condition():
            return time.monotonic() - started
        time.sleep(0.1)
    raise AssertionError(f"not true within {seconds} s")


def run_program(home: Path, extra: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        [str(PROGRAMS / command[0]), *command[1:]],
        cwd=ROOT,
        env=child_environment(home, extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def all_files(home: Path) -> Iterator[tuple[Path, bytes]]:
    for path in home.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


def test_records_from_outside_land_with_nobody_touching_anything(
    bench: Bench, make_location: Any, tmp_path: Path
) -> None:
    bench.create_topic()
    location = make_location(bench)
    extra = {**location.environment, "KAFKA_PG_START_SENSORS": "1"}
    with dagster_dev(tmp_path / "home", extra) as dev:

        def has_ticked(times: int) -> Callable[[], bool]:
            return lambda: len(dev.sensor_ticks("new_offsets_sensor")) >= times

        wait_for(has_ticked(1), 60)
        for total in (10, 20):
            bench.produce([{"id": number} for number in range(10)])
            seconds = wait_for(lambda expected=total: _count(bench) == expected, 15)
            assert seconds < 15
        wait_for(lambda: not _unfinished(dev), 30)
        runs = dev.run_ids()
        ticks = len(dev.sensor_ticks("new_offsets_sensor"))
        wait_for(has_ticked(ticks + 2), 30)
        assert dev.run_ids() == runs
        ended = [t for t in dev.sensor_ticks("new_offsets_sensor") if t["status"] != "STARTED"]
        assert ended[0]["status"] == "SKIPPED"
        assert "up to date" in ended[0]["skipReason"]
    bench.assert_exactly_once()


def _count(bench: Bench) -> int:
    exists = bench.query("SELECT to_regclass(%s) IS NOT NULL", bench.stream.table)
    return bench.count() if exists[0][0] else 0


def _unfinished(dev: Any) -> bool:
    data = dev.query(
        "{ runsOrError(filter: {statuses: [QUEUED, STARTING, STARTED]})"
        " { ... on Runs { results { runId } } } }"
    )
    return bool(data["runsOrError"]["results"])


def test_all_ways_of_loading_find_the_same_definitions(
    bench: Bench, make_location: Any, tmp_path: Path
) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}])
    extra = make_location(bench).environment
    home = tmp_path / "home"
    home.mkdir()
    validated = run_program(
        home, extra, "dagster", "definitions", "validate", "-w", "workspace.yaml"
    )
    assert "All code locations passed validation" in validated
    assert "All definitions loaded successfully" in run_program(home, extra, "dg", "check", "defs")
    assert f"load_{bench.name}" in run_program(home, extra, "dg", "list", "defs", "--json")
    module = "kafka_pg_pipeline.definitions"
    run_program(home, extra, "dagster", "job", "execute", "-m", module, "-j", "kafka_to_postgres")
    assert bench.count() == 1


def test_neither_secrets_nor_records_reach_dagsters_storage(
    bench: Bench, make_location: Any, tmp_path: Path
) -> None:
    bench.create_topic()
    bench.produce([{"id": 1, "name": CANARY}, CANARY.encode(), {"id": CANARY}])
    location = make_location(bench, **{bench.name: {"columns": {"id": "bigint"}}})
    home = tmp_path / "home"
    home.mkdir()
    module = "kafka_pg_pipeline.definitions"
    execute = ("dagster", "job", "execute", "-m", module, "-j")
    run_program(home, location.environment, *execute, f"load_{bench.name}")
    bench.query("DROP TABLE {table}")
    bench.query("CREATE TABLE {table} (id int CHECK (id < 0), name text UNIQUE)")
    bench.produce([{"id": 5, "name": CANARY}])
    with pytest.raises(AssertionError):  # the offset columns are gone: the run fails
        run_program(home, location.environment, *execute, f"load_{bench.name}")
    secret = location.environment["BENCH_PASSWORD"].encode()
    files = list(all_files(home))
    assert len(files) > 3
    for path, content in files:
        assert secret not in content, path
        assert CANARY.encode() not in content, path


def test_the_instance_file_for_deployments_is_accepted(
    own_postgres: PostgresServer, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    parameters = own_postgres.connection_parameters()
    extra = {
        "DAGSTER_PG_HOST": str(parameters["host"]),
        "DAGSTER_PG_PORT": str(parameters["port"]),
        "DAGSTER_PG_USER": str(parameters["user"]),
        "DAGSTER_PG_PASSWORD": str(parameters["password"]),
        "DAGSTER_PG_DB": str(parameters["dbname"]),
    }
    output = run_program(home, extra, "dagster", "instance", "info")
    assert "tag_concurrency_limits" in output
    with closing(connect(postgres_settings(own_postgres))) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT to_regclass('public.runs') IS NOT NULL")
        assert cursor.fetchone() == (True,)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--window-size=1600,1100",
        f"--user-data-dir={tmp_path / 'chromium'}",
    ):
        options.add_argument(flag)
    chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def test_a_launch_from_the_browser_loads_rows(
    bench: Bench, make_location: Any, tmp_path: Path, browser: webdriver.Chrome
) -> None:
    location = make_location(bench, **{bench.name: {"source": {"kind": "generator", "count": 25}}})
    SCREENSHOTS.mkdir(exist_ok=True)
    with dagster_dev(tmp_path / "home", location.environment) as dev:
        browser.get(f"{dev.url}/locations/kafka_pg_pipeline/jobs/kafka_to_postgres/playground")
        launch = WebDriverWait(browser, 60).until(
            expected_conditions.element_to_be_clickable(
                (By.XPATH, "//button[contains(., 'Launch run') or contains(., 'Launch Run')]")
            )
        )
        browser.save_screenshot(str(SCREENSHOTS / "launchpad.png"))
        launch.click()
        wait_for(lambda: _count(bench) == 25, 60)
        wait_for(lambda: not _unfinished(dev), 30)
        browser.get(f"{dev.url}/runs/{dev.run_ids()[0]}")
        WebDriverWait(browser, 30).until(
            expected_conditions.text_to_be_present_in_element((By.TAG_NAME, "body"), "Success")
        )
        browser.save_screenshot(str(SCREENSHOTS / "run.png"))
        browser.get(f"{dev.url}/locations/kafka_pg_pipeline/asset-graph")
        time.sleep(4)
        browser.save_screenshot(str(SCREENSHOTS / "lineage.png"))
    bench.assert_exactly_once()
