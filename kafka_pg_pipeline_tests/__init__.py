"""Tests of kafka_pg_pipeline."""
