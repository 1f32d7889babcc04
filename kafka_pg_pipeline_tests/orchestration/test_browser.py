"""A launch from the UI, by a headless Chromium; screenshots go to KAFKA_PG_SCREENSHOTS."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.ui import WebDriverWait

from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.orchestration.dagster_dev import dagster_dev
from kafka_pg_pipeline_tests.orchestration.programs import count_rows
from kafka_pg_pipeline_tests.waiting import wait_until

SCREENSHOTS = Path(os.environ.get("KAFKA_PG_SCREENSHOTS", "/tmp/kafka_pg_screenshots"))


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


def see(browser: webdriver.Chrome, text: str) -> None:
    """Wait until the page shows the text."""
    WebDriverWait(browser, 30).until(
        expected_conditions.text_to_be_present_in_element((By.TAG_NAME, "body"), text)
    )


def shoot(browser: webdriver.Chrome, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(SCREENSHOTS / f"{name}.png"))


def test_a_launch_from_the_browser_loads_rows(
    bench: Bench, make_location: Any, tmp_path: Path, browser: webdriver.Chrome
) -> None:
    location = make_location(bench, **{bench.name: {"source": {"kind": "generator", "count": 25}}})
    with dagster_dev(tmp_path / "home", location.environment) as dev:
        browser.get(f"{dev.url}/locations/kafka_pg_pipeline/jobs/kafka_to_postgres/playground")
        launch = WebDriverWait(browser, 60).until(
            expected_conditions.element_to_be_clickable(
                (By.XPATH, "//button[contains(., 'Launch run') or contains(., 'Launch Run')]")
            )
        )
        see(browser, "max_records")
        see(browser, bench.name)
        shoot(browser, "launchpad")
        launch.click()
        wait_until(lambda: count_rows(bench) == 25, 60)
        wait_until(lambda: not dev.has_unfinished_runs(), 60)
        browser.get(f"{dev.url}/runs/{dev.run_ids()[0]}")
        see(browser, "Success")
        see(browser, "dagster/table_name")
        shoot(browser, "run")
        table = bench.stream.table.replace(".", "/")
        browser.get(f"{dev.url}/assets/{table}?view=lineage&lineageScope=upstream")
        see(browser, bench.stream.topic)
        shoot(browser, "lineage")
        browser.get(f"{dev.url}/assets/{table}?view=events")
        see(browser, "kafka/lag_after")
        shoot(browser, "materialization")
    bench.assert_exactly_once()
