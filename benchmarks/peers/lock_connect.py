"""Writes the lock of Kafka Connect and the Debezium JDBC sink.

python benchmarks/peers/lock_connect.py
"""

from pathlib import Path

from kafka_pg_pipeline.local.lockfile import format_lock
from kafka_pg_pipeline.local.resolve import resolve_jars

LOCK = Path(__file__).with_name("connect.lock")
KAFKA = "4.2.0"
# 3.6.0.Final, the newest, asks for a jar (org.hibernate:hibernate-agroal) that Maven Central
# does not have.
DEBEZIUM = "3.5.0.Final"
ARTEFACTS = ("connect-runtime", "connect-api", "connect-json", "connect-transforms")
# Drivers of other databases.
UNWANTED = {"ojdbc11", "mssql-jdbc", "mysql-connector-j", "mariadb-java-client"}


def main() -> None:
    roots = [f"org.apache.kafka:{name}:{KAFKA}" for name in (*ARTEFACTS, "kafka-clients")]
    roots.append(f"io.debezium:debezium-connector-jdbc:{DEBEZIUM}")
    roots.append("org.slf4j:slf4j-simple:1.7.36")
    jars = [jar for jar in resolve_jars(roots) if jar.artifact not in UNWANTED]
    title = f"Kafka Connect {KAFKA}, Debezium JDBC sink {DEBEZIUM}"
    text = format_lock(title, "python benchmarks/peers/lock_connect.py", jars)
    LOCK.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
