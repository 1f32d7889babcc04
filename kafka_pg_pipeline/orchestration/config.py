"""Run configuration of the ops; all of it is optional."""

import dagster as dg
from pydantic import Field

from kafka_pg_pipeline.domain.letters import LetterFilter
from kafka_pg_pipeline.domain.records import Reason
from kafka_pg_pipeline.domain.written_times import parse_moment
from kafka_pg_pipeline.errors import ConfigurationError

# A run that was given no time of its own starts no batch after this, and the next run goes on:
# the tag dagster/max_runtime, a little later, would end it as a failure.
USUAL_SECONDS = 600.0


class ProduceConfig(dg.Config):
    """Which stream to produce to, and what."""

    stream: str | None = Field(None, description="stream of the file; the demo stream if unset")
    count: int | None = Field(
        None,
        description="events to generate, the source's count if unset; lines to take of a file "
        "that is named here, all if unset",
    )
    file: str | None = Field(
        None,
        description="JSONL file whose lines become record values, as the code server sees it; "
        "the source's if unset",
    )


class LimitsConfig(dg.Config):
    """The limits of a run whose stream is given by its job."""

    max_records: int | None = Field(None, description="records to load at most")
    max_seconds: float | None = Field(
        None, description="start no new batch after this; ten minutes if unset"
    )

    def check(self) -> None:
        """Insist on limits that allow something.

        Not by pydantic's own bounds: their errors tell of Dagster's insides.

        Raises:
            ConfigurationError: naming the limit.
        """
        check_limits(max_records=self.max_records, max_seconds=self.max_seconds)


class TableConfig(LimitsConfig):
    """The limits of a run of one table, and how many lanes it has."""

    lanes: int = Field(
        1,
        description="steps that load it side by side, each some of its partitions; they need an "
        "executor that runs steps at the same time, as `execution: {config: {multiprocess: {}}}`",
    )

    def check(self) -> None:
        """Insist on limits and lanes that allow something.

        Raises:
            ConfigurationError: naming what does not.
        """
        super().check()
        check_limits(lanes=self.lanes)


class ConsumeConfig(LimitsConfig):
    """Which stream to load, and the limits of the run."""

    stream: str | None = Field(None, description="stream of the file; the demo stream if unset")


class TogetherConfig(LimitsConfig):
    """Which streams one run loads, and the limits of each of them."""

    streams: list[str] = Field(
        default_factory=list, description="streams of the file; all of them if empty"
    )


class FollowConfig(dg.Config):
    """Which streams a run follows, and for how long."""

    streams: list[str] = Field(
        default_factory=list, description="streams of the file; all of them if empty"
    )
    seconds: float = Field(description="how long to load records as they arrive")

    def check(self) -> None:
        """Insist on a time.

        Raises:
            ConfigurationError: it is none.
        """
        check_limits(seconds=self.seconds)


class ReplayConfig(dg.Config):
    """Which dead letters to replay: all of the stream's, or those that meet what is set."""

    stream: str | None = Field(None, description="stream of the file; the demo stream if unset")
    reason: str | None = Field(None, description="reason code, as invalid_json or wrong_type")
    since: str | None = Field(
        None, description="stored at or after this time with its zone, as 2026-01-31T12:00:00Z"
    )
    until: str | None = Field(None, description="stored before this time with its zone")
    limit: int | None = Field(None, description="the oldest so many at most")
    overwrite: bool = Field(
        default=False, description="in upsert, even where a newer row could be overwritten"
    )

    def build_filter(self) -> LetterFilter:
        """What the configuration means.

        Raises:
            ConfigurationError: naming the entry that is wrong.
        """
        check_limits(limit=self.limit)
        return LetterFilter(
            reason=_parse_reason(self.reason) if self.reason else None,
            since=parse_moment("run configuration: since", self.since) if self.since else None,
            until=parse_moment("run configuration: until", self.until) if self.until else None,
        )


class PurgeConfig(dg.Config):
    """Whether anything is changed."""

    dry_run: bool = Field(default=False, description="say what would go, and change nothing")


def _parse_reason(text: str) -> Reason:
    try:
        return Reason(text)
    except ValueError:
        known = ", ".join(reason.value for reason in Reason)
        raise ConfigurationError(f"run configuration: reason {text!r} is none of {known}") from None


def check_limits(**limits: float | None) -> None:
    """Insist that each limit, where there is one, is above zero.

    Raises:
        ConfigurationError: naming the limit.
    """
    for name, value in limits.items():
        if value is not None and value <= 0:
            raise ConfigurationError(f"run configuration: {name} is {value}, it must be above 0")
