"""Writes the lock of Kafka Connect, Kafka's own tools and Debezium, which tests run.

python tools/lock_connect.py
"""

from pathlib import Path

from kafka_pg_pipeline.local.lockfile import format_lock
from kafka_pg_pipeline.local.resolve import resolve_jars

_LOCK = Path(__file__).parents[1] / "kafka_pg_pipeline_tests" / "connect.lock"
_KAFKA = "4.2.0"
_DEBEZIUM = "3.6.1.Final"
# Debezium asks for a newer Kafka than the suite's; named here, the suite's wins.
_ARTEFACTS = ("connect-runtime", "connect-api", "connect-json", "connect-transforms")
_TOOLS = ("kafka-clients", "kafka-tools")


def main() -> None:
    """Resolve, download and record."""
    roots = [f"org.apache.kafka:{name}:{_KAFKA}" for name in _ARTEFACTS + _TOOLS]
    roots.append(f"io.debezium:debezium-connector-postgres:{_DEBEZIUM}")
    roots.append("org.slf4j:slf4j-simple:1.7.36")
    title = f"Kafka Connect {_KAFKA}, Kafka's tools, Debezium {_DEBEZIUM}"
    text = format_lock(title, "python tools/lock_connect.py", resolve_jars(roots))
    _LOCK.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
