"""The configuration file of a bench, for the product run as a program."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from kafka_pg_pipeline_tests.fix_streams import Bench

PASSWORD_VARIABLE = "BENCH_PASSWORD"


def write_file(
    path: Path,
    *benches: Bench,
    sections: Mapping[str, Any] = MappingProxyType({}),
    **streams: dict[str, Any],
) -> None:
    """The configuration file of the benches.

    Other keyword arguments add to a stream's section, ``sections`` to the file.
    """
    kafka, postgres = benches[0].endpoints.kafka, benches[0].endpoints.postgres
    document = {
        **sections,
        "kafka": {
            "bootstrap_servers": kafka.bootstrap_servers,
            "reader": kafka.reader,
            "request_timeout_seconds": kafka.request_timeout_seconds,
        },
        "postgres": {
            "host": postgres.host,
            "port": postgres.port,
            "dbname": postgres.dbname,
            "user": postgres.user,
            "password": f"${{{PASSWORD_VARIABLE}}}",
            "sslmode": postgres.sslmode,
            "schema": postgres.schema_name,
            "lock_timeout_seconds": postgres.lock_timeout_seconds,
            "statement_timeout_seconds": postgres.statement_timeout_seconds,
            "commit_timeout_seconds": postgres.commit_timeout_seconds,
        },
        "streams": {
            bench.name: {
                "topic": bench.stream.topic,
                "table": bench.stream.table,
                "metadata": {key.value: name for key, name in bench.stream.metadata.items()},
                "isolation": bench.stream.isolation,
                "format": bench.stream.format,
                "mode": bench.stream.mode,
                "key": bench.stream.key,
                "key_source": bench.stream.key_source,
                "newest_wins": bench.stream.newest_wins,
                "evolution": bench.stream.evolution.value,
                "start": str(bench.stream.start),
                "on_data_loss": bench.stream.on_data_loss,
                "batch": {
                    "max_rows": bench.stream.batch.max_rows,
                    "max_seconds": bench.stream.batch.max_seconds,
                },
                **streams.get(bench.name, {}),
            }
            for bench in benches
        },
    }
    path.write_text(yaml.safe_dump(document))


def environment_of(bench: Bench, file: Path) -> dict[str, str]:
    """What a program needs in its environment to take that file."""
    secret = bench.endpoints.postgres.password
    return {
        PASSWORD_VARIABLE: secret.get_secret_value() if secret else "",
        "KAFKA_PG_CONFIG": str(file),
    }
