"""Services of a cloud project, as its directory tells them; secrets never show in ``repr``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

KAFKA_TYPE = "kafka"
POSTGRES_TYPES = ("pg", "alloydbomni")


class ServiceState(str, Enum):
    """What a service does; ``UNKNOWN`` stands for any word that came up later."""

    RUNNING = "RUNNING"
    REBALANCING = "REBALANCING"
    REBUILDING = "REBUILDING"
    POWEROFF = "POWEROFF"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Component:
    """One address of a service.

    ``authentication`` is certificate or sasl, of Kafka alone. ``has_public_ca`` is true where the
    certificate is of a public CA and not of the project's.
    """

    kind: str
    host: str
    port: int
    route: str = "dynamic"
    usage: str = "primary"
    authentication: str | None = None
    has_public_ca: bool = False


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """A user of a service; the password is None where somebody set one of their own."""

    name: str
    type: str = ""
    password: str | None = field(default=None, repr=False)
    certificate: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    certificate_ends: datetime | None = None


@dataclass(frozen=True, slots=True)
class ConnectionPool:
    """A PgBouncer pool: its name is what a client names as the database."""

    name: str
    database: str
    mode: str
    size: int
    user: str | None = None


@dataclass(frozen=True, slots=True)
class AccessRule:
    """What a Kafka user may do with topics: ``topic`` is a pattern, ``permission`` one word."""

    user: str
    topic: str
    permission: str


@dataclass(frozen=True, slots=True)
class MaintenanceUpdate:
    """A mandatory update that waits for the maintenance window."""

    description: str
    starts: datetime | None = None
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """One service, as far as the pipeline needs to know it."""

    name: str
    type: str
    state: ServiceState
    plan: str = ""
    cloud: str = ""
    state_word: str = ""
    components: tuple[Component, ...] = ()
    users: tuple[ServiceUser, ...] = ()
    pools: tuple[ConnectionPool, ...] = ()
    databases: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    access_rules: tuple[AccessRule, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    switches: Mapping[str, bool] = field(default_factory=dict)
    max_connections: int | None = None
    version: str = ""
    updates: tuple[MaintenanceUpdate, ...] = ()
    maintenance_window: str = ""
    notices: tuple[str, ...] = ()

    @property
    def is_kafka(self) -> bool:
        """Whether it is an Apache Kafka."""
        return self.type == KAFKA_TYPE

    @property
    def is_postgres(self) -> bool:
        """Whether it speaks PostgreSQL's protocol."""
        return self.type in POSTGRES_TYPES

    def find_user(self, name: str | None) -> ServiceUser | None:
        """The user of that name; without a name the service's first."""
        if name is not None:
            return next((user for user in self.users if user.name == name), None)
        primary = [user for user in self.users if user.type == "primary"]
        return next(iter((*primary, *self.users)), None)

    def find_components(self, kind: str, route: str) -> tuple[Component, ...]:
        """Addresses of the primary by kind and route."""
        return tuple(
            component
            for component in self.components
            if (component.kind, component.route, component.usage) == (kind, route, "primary")
        )


@dataclass(frozen=True, slots=True)
class ServiceTopic:
    """A topic as the directory lists it."""

    name: str
    partitions: int
    replication: int
    state: str
