"""Runs driver calls so that they end in time, and fail with our own errors alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from kafka_pg_pipeline.adapters.kafka.connection import ClientKeeper
from kafka_pg_pipeline.adapters.kafka.deadline import call_with_deadline
from kafka_pg_pipeline.adapters.kafka.errors import Place, translate_error
from kafka_pg_pipeline.adapters.kafka.reachability import describe_reachability
from kafka_pg_pipeline.errors import KafkaUnavailableError, PipelineError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Guard:
    """The client under guard: its options, who can close it, and the topic that is its concern.

    ``topic`` is None where that are many.
    ``stream`` is how messages call the stream that reads the topic.
    """

    options: Mapping[str, Any]
    keeper: ClientKeeper
    topic: str | None
    stream: str = "STREAM"

    @property
    def servers(self) -> str:
        """The bootstrap servers, for messages."""
        return ",".join(self.options["bootstrap_servers"])

    def run(
        self,
        call: Callable[[], T],
        *,
        seconds: float,
    ) -> T:
        """What ``call`` returns, if it ends within ``seconds``.

        Args:
            call: Runs in a thread of its own.
            seconds: When to give up and pull the connections away from under it.

        Raises:
            PipelineError: Whatever went wrong, sorted. The driver's exception is never its
                context, which would carry record content into logs.
        """
        try:
            return call_with_deadline(call, seconds=seconds, abandon=self.keeper.abandon)
        except Exception as error:  # noqa: BLE001 - sorted into our tree
            failure = self.explain(error)
        raise failure

    def explain(self, error: Exception, stopped_at: tuple[int, int] | None = None) -> PipelineError:
        """``error`` in our tree; an outage with what stands in the way of a connection.

        ``stopped_at`` are partition and offset of what the driver stumbled on.
        """
        partition, offset = stopped_at or (None, None)
        place = Place(self.servers, self.topic, partition, offset, self.stream)
        failure = translate_error(error, place)
        if isinstance(failure, KafkaUnavailableError) and failure is not error:
            explained = KafkaUnavailableError(f"{failure}; {describe_reachability(self.options)}")
            explained.__cause__ = failure.__cause__
            return explained
        return failure
