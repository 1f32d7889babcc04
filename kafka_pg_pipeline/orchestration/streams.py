"""The streams of the file, looked up by name."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dagster as dg

from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.settings.models import StreamSettings

_DEMO = "demo"
# Runs carry it, so that the sensor and the queue's limits know which stream a run loads.
STREAM_TAG = "kafka_pg/stream"
# A run of several streams carries their names in this one, and in the other those that failed.
STREAMS_TAG = "kafka_pg/streams"
FAILED_TAG = "kafka_pg/failed_streams"
# How many seconds a run goes on loading what arrives.
FOLLOW_TAG = "kafka_pg/follow_seconds"
# A run that is no load says what it is for: others may have jobs of its name, or it has none.
JOB_TAG = "kafka_pg/job"
# Not load_…: those are the jobs of single streams, whatever their names are.
TOGETHER_JOB = "streams_to_postgres"
FOLLOW_JOB = "follow_streams"
# Dagster's own; the second is on runs that its run_retries have launched.
_PARENT_TAG = "dagster/parent_run_id"
_RETRY_TAG = "dagster/retry_number"


def join_names(names: Iterable[str]) -> str:
    """Names of streams as one tag's value."""
    return ",".join(names)


def split_names(value: str | None) -> tuple[str, ...]:
    """What ``join_names`` has joined; none where there is no such tag."""
    return tuple(value.split(",")) if value else ()


def tag_run(context: dg.OpExecutionContext, stream: str) -> None:
    """Say on the run which stream it loads, where its launch did not.

    A run of ``kafka_to_postgres`` learns it from its own configuration, and one that somebody
    launched on the asset itself comes without any tag.
    """
    if context.run.tags.get(STREAM_TAG) != stream:
        context.instance.add_run_tags(context.run_id, {STREAM_TAG: stream})


def tag_run_with_all(context: dg.OpExecutionContext, streams: Iterable[str]) -> None:
    """As ``tag_run``, for a run of several streams."""
    names = join_names(streams)
    if context.run.tags.get(STREAMS_TAG) != names:
        context.instance.add_run_tags(context.run_id, {STREAMS_TAG: names})


def find_retried_runs(run: dg.DagsterRun, instance: dg.DagsterInstance) -> tuple[str, ...]:
    """Ids of the runs that this one retries by itself, as ``run_retries`` of the instance asks.

    A run that somebody re-executed is none of them: a person has looked.
    """
    found: list[str] = []
    current: dg.DagsterRun | None = run
    while current is not None and {_PARENT_TAG, _RETRY_TAG} <= current.tags.keys():
        found.append(current.tags[_PARENT_TAG])
        current = instance.get_run_by_id(found[-1])
    return tuple(found)


@dataclass(frozen=True)
class Streams:
    """All streams by name."""

    by_name: Mapping[str, StreamSettings]

    @property
    def default(self) -> str | None:
        """The demo stream, else the first of the file; None where there is none."""
        return _DEMO if _DEMO in self.by_name else next(iter(self.by_name), None)

    def choose(self, name: str | None) -> tuple[str, StreamSettings]:
        """The stream of that name; without a name the demo stream, else the first of the file.

        Raises:
            ConfigurationError: there is no such stream; names the near ones.
        """
        name = name or self.default
        if name is None:
            raise ConfigurationError("the configuration file names no stream")
        stream = self.by_name.get(name)
        if stream is None:
            near = difflib.get_close_matches(name, self.by_name) or list(self.by_name)
            raise ConfigurationError(f"there is no stream {name!r}; there is {', '.join(near)}")
        return name, stream
