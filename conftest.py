"""Fixtures come from the plugins named here; options of the suite stand here."""

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)

pytest_plugins = [
    "kafka_pg_pipeline_tests.fix_servers",
    "kafka_pg_pipeline_tests.fix_streams",
    "kafka_pg_pipeline_tests.fix_pooler",
    "kafka_pg_pipeline_tests.fix_proxy",
    "kafka_pg_pipeline_tests.fix_registry",
    "kafka_pg_pipeline_tests.fix_connect",
    "kafka_pg_pipeline_tests.fix_aiven",
    "kafka_pg_pipeline_tests.fix_tls_servers",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kafka",
        default="4.2.0",
        choices=["4.2.0", "3.0.0"],
        help="version of Apache Kafka that the suite starts (3.0.0 runs with ZooKeeper)",
    )
    parser.addoption(
        "--reader",
        default="kafka-python",
        choices=["kafka-python", "confluent"],
        help="client that reads records wherever a test does not name one",
    )
    parser.addoption(
        "--lanes",
        type=int,
        default=1,
        help="lanes in which tests that load in this process do so, wherever it has the partitions",
    )
    parser.addoption(
        "--soak-seconds",
        type=float,
        default=20.0,
        help="how long the soak test keeps breaking things (release check: 240)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """In CI tests run in random order, or not at all."""
    if not os.environ.get("CI"):
        return
    reorganizes = getattr(config.option, "randomly_reorganize", False)
    if not config.pluginmanager.hasplugin("randomly") or not reorganizes:
        raise pytest.UsageError(
            "CI runs the suite in random order: pytest-randomly is missing or off"
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a test needs is told by its fixtures."""
    for item in items:
        for marker in ("kafka", "postgres"):
            if {marker, f"own_{marker}"} & set(getattr(item, "fixturenames", ())):
                item.add_marker(marker)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI nothing may be missing: a skipped test counts as failed."""
    report = yield
    return _fail_skipped(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself."""
    report = yield
    return _fail_skipped(report)


def _fail_skipped(report: _Report) -> _Report:
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason} (CI is set: nothing may be skipped)"
    return report


def pytest_report_header(config: pytest.Config) -> str:
    return f"Apache Kafka {config.getoption('--kafka')}, started by the suite"
