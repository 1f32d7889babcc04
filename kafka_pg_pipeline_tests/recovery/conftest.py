"""The command line, and ways to break a stream for real."""

from kafka_pg_pipeline_tests.cli.conftest import command_line

__all__ = ["command_line"]
