"""Dagster resources: configuration and lifecycle around the adapters."""
