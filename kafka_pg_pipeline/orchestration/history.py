"""What Dagster's runs say of a stream: is one at it, and have its last ones failed?"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property

import dagster as dg

from kafka_pg_pipeline.orchestration.streams import (
    FAILED_TAG,
    FOLLOW_JOB,
    STREAM_TAG,
    STREAMS_TAG,
    TOGETHER_JOB,
    split_names,
)

# What waits in the queue will be taken from it; another run would only wait beside it.
WAITING = (dg.DagsterRunStatus.QUEUED,)
_WORKING = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
_RUNS_LOOKED_AT = 8
_MOST_IN_FLIGHT = 500
_MOST_FAILED = 200
_MEMORY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class FailedRuns:
    """Runs that failed in a row, and the seconds since the last of them ended."""

    number: int
    seconds_ago: float


NONE_FAILED = FailedRuns(0, float("inf"))


class RunHistory:
    """Runs as they are during one tick of the sensor; asks Dagster's storage when it must."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance

    def find_unfinished(self, stream: str) -> list[dg.RunRecord]:
        """Runs that load the stream, alone or with others, or will when their turn comes."""
        return self._unfinished.get(stream, [])

    def find_failures(self, stream: str) -> FailedRuns:
        """Failures in a row of the stream, by the runs of it alone and of it among others.

        A run of several streams that failed has failed for those that it names; one that names
        none has crashed, for all of them. What was longer ago than an hour is forgotten.
        """
        if stream not in self._failed_lately:
            return NONE_FAILED
        alone = self._instance.get_run_records(
            filters=dg.RunsFilter(tags={STREAM_TAG: stream}), limit=_RUNS_LOOKED_AT
        )
        among_others = (record for record in self._together if stream in _streams_of(record))
        number, last = 0, None
        for record in sorted([*alone, *among_others], key=_ended_at, reverse=True):
            if not _has_failed(record, stream):
                break
            number, last = number + 1, last or record
        return NONE_FAILED if last is None else FailedRuns(number, time.time() - _ended_at(last))

    @cached_property
    def _failed_lately(self) -> frozenset[str]:
        """Most ticks find none, and need not ask for the runs of each stream."""
        since = datetime.now(timezone.utc) - _MEMORY
        found: set[str] = set()
        for record in self._instance.get_run_records(
            filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since),
            limit=_MOST_FAILED,
        ):
            found.update(_names_on(record))
        return frozenset(found)

    @cached_property
    def _unfinished(self) -> dict[str, list[dg.RunRecord]]:
        found: dict[str, list[dg.RunRecord]] = {}
        statuses = [*WAITING, *_WORKING]
        for record in self._instance.get_run_records(
            filters=dg.RunsFilter(statuses=statuses), limit=_MOST_IN_FLIGHT
        ):
            for stream in _names_on(record):
                found.setdefault(stream, []).append(record)
        return found

    @cached_property
    def _together(self) -> Sequence[dg.RunRecord]:
        """The newest runs of several streams."""
        return [
            record
            for job in (TOGETHER_JOB, FOLLOW_JOB)
            for record in self._instance.get_run_records(
                filters=dg.RunsFilter(job_name=job), limit=_RUNS_LOOKED_AT
            )
        ]


def _names_on(record: dg.RunRecord) -> tuple[str, ...]:
    alone = split_names(record.dagster_run.tags.get(STREAM_TAG))
    return (*alone, *_streams_of(record))


def _streams_of(record: dg.RunRecord) -> tuple[str, ...]:
    return split_names(record.dagster_run.tags.get(STREAMS_TAG))


def _has_failed(record: dg.RunRecord, stream: str) -> bool:
    run = record.dagster_run
    if run.status is not dg.DagsterRunStatus.FAILURE:
        return False
    named = split_names(run.tags.get(FAILED_TAG))
    return stream in named or not named


def _ended_at(record: dg.RunRecord) -> float:
    return float(record.end_time or record.update_timestamp.timestamp())
