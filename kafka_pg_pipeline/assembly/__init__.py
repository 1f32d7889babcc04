"""Puts settings, adapters and the pipeline together: for the CLI, for Dagster and for tests."""
