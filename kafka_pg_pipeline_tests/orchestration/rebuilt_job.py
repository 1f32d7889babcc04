"""A job as the processes of its steps rebuild it: from the environment alone."""

import os

import dagster as dg

from kafka_pg_pipeline.definitions import build_definitions
from kafka_pg_pipeline.settings.file import load_settings

JOB_VARIABLE = "REBUILT_JOB"


def rebuild_job() -> dg.JobDefinition:
    """The job that the environment names, of the file that it names."""
    definitions = build_definitions(load_settings(None, os.environ))
    return definitions.resolve_job_def(os.environ[JOB_VARIABLE])
