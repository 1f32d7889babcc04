"""Takes the pictures in docs/images: a local stack, three streams, ``kafka-pg dev``, a Chromium.

Run it from the checkout, with Debian's chromium and chromium-driver installed.
"""

import contextlib
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import dagster as dg
import psycopg2
import requests
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.ui import WebDriverWait

from kafka_pg_pipeline.cli.local_servers import ensure_dagster_home
from kafka_pg_pipeline.local.endpoints import LocalEndpoints
from kafka_pg_pipeline.local.stack import LocalStack
from kafka_pg_pipeline.orchestration.location import build_definitions
from kafka_pg_pipeline.settings.file import load_settings

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PORT = 3177
URL = f"http://127.0.0.1:{PORT}"
WIDTH, HEIGHT = 1400, 900
LOADS = 14
DAYS = 3
TODAY = datetime.datetime.now(datetime.timezone.utc).replace(hour=0, minute=0, second=0)
FIRST_DAY = (TODAY - datetime.timedelta(days=DAYS)).date().isoformat()
FILE = f"""
streams:
  orders:
    topic: shop.orders
    table: public.orders
    metadata: [partition, offset]
    asset:
      description: Orders of the **shop**, one row each.
      owners: [shop@example.com, "team:data"]
      group: shop
      tags: {{domain: sales}}
    backfill: {{every: day, start: "{FIRST_DAY}", into: public.orders_by_day}}
  customers:
    topic: shop.customers
    table: public.customers
    mode: upsert
    key: [id]
    asset: {{group: shop}}
  clicks:
    topic: web.clicks
    table: public.clicks
    metadata: [partition, offset]
    asset: {{group: web}}
    checks: {{lag_records: 1000}}
"""
BACKFILL = """mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL_STATUS = """query($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"""


@dataclass(frozen=True)
class Page:
    """One picture: its file, its address, and a text that is there once it is complete.

    ``click`` is the text of what is clicked before, and then brought to the top.
    """

    name: str
    path: str
    text: str
    click: str | None = None


def produce(servers: str, topic: str, values: list[dict[str, Any]], timestamp: int = 0) -> None:
    """Produce JSON values and wait for the acks; timestamp 0 is now."""
    producer = Producer({"bootstrap.servers": servers})
    for value in values:
        producer.produce(topic, json.dumps(value), timestamp=timestamp)
    if producer.flush(30):
        raise click.ClickException("the broker did not acknowledge all records")


def make_order(number: int) -> dict[str, Any]:
    """An order that looks like one."""
    return {"id": number, "customer": number % 97, "amount": 10 + number % 90, "currency": "EUR"}


def fill(endpoints: LocalEndpoints, instance: dg.DagsterInstance, configuration: Path) -> None:
    """Records of three days, then loads that leave something to plot, and one damage to find."""
    servers = endpoints.bootstrap_servers
    admin = AdminClient({"bootstrap.servers": servers})
    topics = [NewTopic(name, 3, 1) for name in ("shop.orders", "shop.customers", "web.clicks")]
    for made in admin.create_topics(topics).values():
        made.result(30)
    for day in range(DAYS, 0, -1):
        noon = TODAY - datetime.timedelta(days=day) + datetime.timedelta(hours=12)
        orders = [make_order(1000 * day + number) for number in range(400)]
        produce(servers, "shop.orders", orders, int(noon.timestamp() * 1000))
    definitions = build_definitions(load_settings(configuration, os.environ))
    for turn in range(LOADS):
        count = 400 + 37 * (turn * turn % 11)
        produce(servers, "shop.orders", [make_order(10_000 * turn + n) for n in range(count)])
        produce(servers, "shop.customers", [{"id": n % 50, "turn": turn} for n in range(80)])
        produce(servers, "web.clicks", [{"id": n, "page": f"/p/{n % 9}"} for n in range(200)])
        load = definitions.resolve_job_def("streams_to_postgres")
        load.execute_in_process(instance=instance)
    with (
        contextlib.closing(
            psycopg2.connect(
                host=endpoints.host,
                port=endpoints.port,
                user=endpoints.user,
                password=endpoints.password,
                dbname=endpoints.dbname,
            )
        ) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("DELETE FROM public.clicks WHERE id < 3")
    for job in ("check_streams", "check_tables"):
        definitions.resolve_job_def(job).execute_in_process(instance=instance)


def query(text: str, **variables: Any) -> Any:
    """What Dagster's GraphQL answers."""
    answer = requests.post(
        f"{URL}/graphql", json={"query": text, "variables": variables}, timeout=30
    )
    answer.raise_for_status()
    return answer.json()["data"]


def wait_for(condition: Callable[[], Any], seconds: float) -> Any:
    """What the condition returns once it is true."""
    give_up = time.monotonic() + seconds
    while True:
        with contextlib.suppress(requests.RequestException):
            if found := condition():
                return found
        if time.monotonic() > give_up:
            raise click.ClickException("Dagster did not get there in time")
        time.sleep(0.5)


@contextlib.contextmanager
def running_ui(configuration: Path) -> Iterator[None]:
    """``kafka-pg dev`` for the time of the block."""
    command = [sys.executable, "-m", "kafka_pg_pipeline", "dev", "-p", str(PORT)]
    process = subprocess.Popen(
        [*command, "-c", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: requests.get(f"{URL}/server_info", timeout=5).ok, 90)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def run_backfill() -> str:
    """Three days, as the backfill page launches them; the id."""
    days = [(TODAY - datetime.timedelta(days=day)).date().isoformat() for day in (3, 2, 1)]
    params = {"assetSelection": [{"path": ["public", "orders_by_day"]}], "partitionNames": days}
    launched = query(BACKFILL, params=params)["launchPartitionBackfill"]
    if "backfillId" not in launched:
        raise click.ClickException(f"the backfill was not launched: {launched}")
    backfill = str(launched["backfillId"])

    def is_done() -> bool:
        status = query(BACKFILL_STATUS, id=backfill)["partitionBackfillOrError"]["status"]
        return status in ("COMPLETED", "COMPLETED_SUCCESS")

    wait_for(is_done, 180)
    return backfill


@contextlib.contextmanager
def open_browser(directory: Path) -> Iterator[webdriver.Chrome]:
    """A headless Chromium for the time of the block."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise click.ClickException("install chromium and chromium-driver first")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        f"--window-size={WIDTH},{HEIGHT}",
        f"--user-data-dir={directory / 'chromium'}",
    ):
        options.add_argument(flag)
    chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def shoot(browser: webdriver.Chrome, page: Page) -> None:
    """Take one picture."""
    browser.get(URL + page.path)
    try:
        WebDriverWait(browser, 60).until(
            expected_conditions.text_to_be_present_in_element((By.TAG_NAME, "body"), page.text)
        )
    except TimeoutException:
        click.echo(f"{page.name}: {page.text!r} did not appear; the picture is taken all the same")
    time.sleep(4)  # for what is drawn after the words are there
    if page.click is not None:
        switch = browser.find_element(By.XPATH, f"//*[text()='{page.click}']")
        browser.execute_script("arguments[0].click(); arguments[0].scrollIntoView()", switch)
        time.sleep(3)
    browser.save_screenshot(str(IMAGES / f"{page.name}.png"))
    click.echo(f"{IMAGES / page.name}.png")


@click.command()
def main() -> None:
    """Take all pictures anew."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kafka_pg_pictures_") as name:
        directory = Path(name)
        os.environ["KAFKA_PG_HOME"] = name
        stack = LocalStack(die_with_parent=True)
        endpoints = stack.up()
        try:
            os.environ |= endpoints.environment()
            configuration = directory / "pipeline.yaml"
            configuration.write_text(FILE)
            os.environ["DAGSTER_HOME"] = str(ensure_dagster_home())
            fill(endpoints, dg.DagsterInstance.get(), configuration)
            with running_ui(configuration), open_browser(directory) as browser:
                backfill = run_backfill()
                for page in (
                    Page(
                        "lineage",
                        "/locations/kafka_pg_pipeline/asset-groups/shop/lineage",
                        "orders",
                    ),
                    Page(
                        "materialization",
                        "/assets/public/orders?view=overview",
                        "kafka/rows",
                        click="Plots",
                    ),
                    Page(
                        "check",
                        "/assets/public/clicks?view=checks&checkDetail=table_matches_ledger",
                        "table_matches_ledger",
                    ),
                    Page("backfill", f"/runs/b/{backfill}?tab=runs", "Succeeded"),
                ):
                    shoot(browser, page)
        finally:
            stack.down()


if __name__ == "__main__":
    main()
