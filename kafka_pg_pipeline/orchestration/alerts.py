"""The sensor ``alert_on_failure``: tells a webhook of each run that failed for good."""

from typing import Any

import dagster as dg

from kafka_pg_pipeline import errors
from kafka_pg_pipeline.adapters.webhook import WebhookError, escape, post_text
from kafka_pg_pipeline.orchestration.streams import (
    BACKFILL_TAG,
    FAILED_TAG,
    STREAM_TAG,
    STREAMS_TAG,
    Streams,
    split_names,
)
from kafka_pg_pipeline.resources.alerts import AlertsResource

# Dagster's own: a run that its run_retries will start again.
_WILL_RETRY_TAG = "dagster/will_retry"
# Which streams a run has failed for; the first that it has counts.
_STREAM_TAGS = (STREAM_TAG, FAILED_TAG, STREAMS_TAG, BACKFILL_TAG)
_LONGEST = 2_000
_OURS = frozenset(
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.PipelineError)
)


def build_alert_sensor(
    streams: Streams, default_status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    """The sensor for all jobs of this code location."""

    @dg.run_failure_sensor(
        name="alert_on_failure",
        default_status=default_status,
        description="Posts each failed run to the webhook of `alerts`: stream, table, what failed "
        "and the command that cures it. A run that is tried again is not told.",
    )
    def alert_on_failure(
        context: dg.RunFailureSensorContext, alerts: AlertsResource
    ) -> dg.SkipReason | None:
        run = context.dagster_run
        if run.tags.get(_WILL_RETRY_TAG) == "true":
            return dg.SkipReason(f"run {run.run_id[:8]} will be tried again")
        text = describe_failure(run, find_causes(context), streams, alerts.ui_url)
        try:
            post_text(alerts.webhook, text)
        except WebhookError as error:
            # Raised, it would hold up the alerts of all runs to come.
            context.log.warning("run %s failed and nobody was told: %s", run.run_id[:8], error)
        return None

    return alert_on_failure


def find_causes(context: dg.RunFailureSensorContext) -> list[str]:
    """What failed, by step; only our own messages are known to hold no content and no secret."""
    causes = []
    for event in context.get_step_failure_events():
        step = event.step_failure_data
        if step.user_failure_data and step.user_failure_data.description:
            causes.append(step.user_failure_data.description)
        else:
            causes.append(_describe_error(step.error))
    return causes or ["the run ended before a step could say why; the run's log has more"]


def _describe_error(error: Any) -> str:
    """Our message where one is behind the error, else the kind of what is behind it."""
    kind = "an error"
    while error is not None:
        kind = error.cls_name
        if kind in _OURS:
            return str(error.message.partition(":")[2].strip())
        error = error.cause
    return f"{kind}: this was not foreseen; the run's log has more"


def describe_failure(run: dg.DagsterRun, causes: list[str], streams: Streams, ui_url: str) -> str:
    """The message: stream and table, what failed, and where the run is seen."""
    named = next((run.tags[tag] for tag in _STREAM_TAGS if tag in run.tags), None)
    what = [_describe_stream(name, streams) for name in split_names(named)]
    lines = [f"Run {run.run_id[:8]} failed: {', '.join(what) or f'job {run.job_name}'}", *causes]
    text = escape("\n".join(lines)[:_LONGEST])
    return f"{text}\n{ui_url.rstrip('/')}/runs/{run.run_id}" if ui_url else text


def _describe_stream(name: str, streams: Streams) -> str:
    stream = streams.by_name.get(name)
    where = f" ({stream.topic} → {stream.table})" if stream is not None else ""
    return f"stream {name}{where}"
