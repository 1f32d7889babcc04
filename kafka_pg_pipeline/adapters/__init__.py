"""Kafka and PostgreSQL behind the ports."""
