"""A stream's measures under the names that Prometheus knows them by; needs the extra `metrics`."""

import threading
from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kafka_pg_pipeline.assembly.measure import Meter
from kafka_pg_pipeline.domain.measures import StreamMeasure

_LABELS = ("stream", "topic", "table")
_GAUGES = {
    "kafka_pg_up": "1 where Kafka and PostgreSQL answered for the stream, else 0",
    "kafka_pg_position": "sum of the next offsets of all partitions",
    "kafka_pg_lag_offsets": "offsets that a run could load now",
    "kafka_pg_blocked_offsets": "offsets behind an open transaction",
    "kafka_pg_unresolved_dead_letters": "rejected records of which nothing became yet",
    "kafka_pg_paused": "1 where somebody has paused the stream",
    "kafka_pg_failures_in_a_row": "failed runs since the last one that did not fail",
    "kafka_pg_last_commit_timestamp_seconds": "when a batch was last committed",
}
_COUNTERS = {
    "kafka_pg_rows": "rows written, by the ledger",
    "kafka_pg_dead_letters": "records rejected, by the ledger",
    "kafka_pg_record_bytes": "bytes of keys, values and headers read, by the ledger",
}


class StreamCollector(Collector):
    """Measures all streams whenever it is asked; one at a time."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._lock = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        """All families; what is not known of a stream is left out."""
        with self._lock:
            measures = self._meter.measure()
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for name, text in _GAUGES.items():
            families[name] = GaugeMetricFamily(name, text, labels=_LABELS)
        for name, text in _COUNTERS.items():
            families[name] = CounterMetricFamily(name, text, labels=_LABELS)
        for measure in measures:
            labels = (measure.stream, measure.topic, measure.table)
            for name, value in _values(measure).items():
                if value is not None:
                    families[name].add_metric(labels, value)
        return families.values()


def _values(measure: StreamMeasure) -> dict[str, float | None]:
    values: dict[str, float | None] = {
        "kafka_pg_up": measure.is_up,
        "kafka_pg_position": measure.position,
        "kafka_pg_lag_offsets": measure.readable,
        "kafka_pg_blocked_offsets": measure.blocked,
    }
    account = measure.account
    if account is not None:
        values |= {
            "kafka_pg_unresolved_dead_letters": account.unresolved_letters,
            "kafka_pg_paused": account.is_paused,
            "kafka_pg_failures_in_a_row": account.failures,
            "kafka_pg_last_commit_timestamp_seconds": account.totals.last_commit,
            "kafka_pg_rows": account.totals.rows,
            "kafka_pg_dead_letters": account.totals.dead,
            "kafka_pg_record_bytes": account.totals.record_bytes,
        }
    return values


def build_registry(meter: Meter) -> CollectorRegistry:
    """A registry of the streams alone, without numbers of this process."""
    registry = CollectorRegistry()
    registry.register(StreamCollector(meter))
    return registry
