"""Run configuration of the ops; all of it is optional."""

import dagster as dg
from pydantic import Field


class ProduceConfig(dg.Config):
    """Which stream to produce to, and what."""

    stream: str | None = Field(None, description="stream of the file; the demo stream if unset")
    count: int | None = Field(None, description="events to generate, or lines to take", ge=1)
    file: str | None = Field(None, description="JSONL file whose lines become record values")


class ConsumeConfig(dg.Config):
    """Which stream to load, and the limits of the run."""

    stream: str | None = Field(None, description="stream of the file; the demo stream if unset")
    max_records: int | None = Field(None, description="records to load at most", ge=1)
    max_seconds: float | None = Field(None, description="start no new batch after this", gt=0)


class LimitsConfig(dg.Config):
    """The limits of a run whose stream is given by its job."""

    max_records: int | None = Field(None, description="records to load at most", ge=1)
    max_seconds: float | None = Field(
        600.0, description="start no new batch after this; the next run goes on", gt=0
    )
