"""Records from Kafka topics become rows in PostgreSQL, each exactly once, run by Dagster."""

__version__ = "0.1.0"
