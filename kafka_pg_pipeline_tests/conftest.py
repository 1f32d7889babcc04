"""Fixtures come from the plugins named here; options of the suite stand here."""

import pytest

pytest_plugins = [
    "kafka_pg_pipeline_tests.fix_servers",
    "kafka_pg_pipeline_tests.fix_streams",
    "kafka_pg_pipeline_tests.fix_pooler",
    "kafka_pg_pipeline_tests.fix_proxy",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kafka",
        default="4.2.0",
        choices=["4.2.0", "3.0.0"],
        help="version of Apache Kafka that the suite starts (3.0.0 runs with ZooKeeper)",
    )
    parser.addoption(
        "--soak-seconds",
        type=float,
        default=20.0,
        help="how long the soak test keeps breaking things (release check: 120)",
    )


def pytest_report_header(config: pytest.Config) -> str:
    return f"Apache Kafka {config.getoption('--kafka')}, started by the suite"
