"""Where the local stack lies, and where its servers are reached."""

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class LocalEndpoints:
    """Where the servers of a stack are reached."""

    bootstrap_servers: str
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    dbname: str

    def environment(self) -> dict[str, str]:
        """Return the variables by which Kafka's and PostgreSQL's clients find the servers."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.dbname,
        }


def default_home() -> Path:
    """Return the stack's directory: ``KAFKA_PG_HOME``, else ``.local`` in the working directory."""
    return Path(os.environ.get("KAFKA_PG_HOME") or ".local").expanduser().absolute()
