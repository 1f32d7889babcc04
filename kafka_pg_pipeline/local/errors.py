"""The one error of the local stack."""

from kafka_pg_pipeline.errors import PipelineError


class LocalStackError(PipelineError):
    """A local server could not be installed, started or stopped; the message names the cure."""
