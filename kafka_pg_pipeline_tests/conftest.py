"""Fixtures come from the plugins named here; options of the suite stand here."""

import pytest

pytest_plugins = [
    "kafka_pg_pipeline_tests.fix_servers",
    "kafka_pg_pipeline_tests.fix_streams",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kafka",
        default="4.2.0",
        choices=["4.2.0", "3.0.0"],
        help="version of Apache Kafka that the suite starts (3.0.0 runs with ZooKeeper)",
    )


def pytest_report_header(config: pytest.Config) -> str:
    return f"Apache Kafka {config.getoption('--kafka')}, started by the suite"
