"""What about a service needs somebody's attention; pure."""

from dataclasses import dataclass
from datetime import datetime

from kafka_pg_pipeline.domain.services import Service, ServiceState, ServiceUser

# Aiven makes a new certificate about three months before the old one ends.
WARN_CERTIFICATE_DAYS = 30
# What one load of a stream opens: its session, changes of the table, and the writer's two.
CONNECTIONS_PER_LOAD = 4
# What Aiven, the sensor and people take.
RESERVED_CONNECTIONS = 10


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """One service at a moment; ``certificate_days`` is None where no certificate is used."""

    service: Service
    certificate_days: int | None = None

    @property
    def serves(self) -> bool:
        """Whether clients can use it now."""
        return self.service.state in (ServiceState.RUNNING, ServiceState.REBALANCING)

    @property
    def certificate_ends_soon(self) -> bool:
        """Whether the client certificate that the API gives ends within a month."""
        days = self.certificate_days
        return days is not None and days < WARN_CERTIFICATE_DAYS

    @property
    def concerns(self) -> tuple[str, ...]:
        """What needs attention, in words; empty where nothing does."""
        found: list[str] = []
        if self.service.state is not ServiceState.RUNNING:
            found.append(f"the service is {self.service.state_word}")
        if self.certificate_ends_soon:
            found.append(f"the client certificate ends in {self.certificate_days} days")
        found += [describe_update(self.service, number) for number in range(self.updates)]
        return tuple(found)

    @property
    def updates(self) -> int:
        """How many mandatory updates wait."""
        return len(self.service.updates)


def judge_service(service: Service, user: ServiceUser | None, now: datetime) -> ServiceHealth:
    """How a service is; ``user`` is the one whose certificate is used, if one is."""
    ends = user.certificate_ends if user is not None else None
    return ServiceHealth(service, None if ends is None else (ends - now).days)


def describe_update(service: Service, number: int) -> str:
    """A mandatory update and when it comes."""
    update = service.updates[number]
    text = f"mandatory update pending: {update.description or 'without description'}"
    if update.starts is not None:
        text += f", from {update.starts:%Y-%m-%d}"
    if update.deadline is not None:
        text += f", at the latest {update.deadline:%Y-%m-%d}"
    return f"{text}, in the window {service.maintenance_window or 'of the service'}"


def count_connections(streams: int) -> int:
    """Connections that so many loads at once take, and one for the sensor."""
    return CONNECTIONS_PER_LOAD * streams + 1


def has_room_for(service: Service, streams: int) -> bool:
    """Whether the plan's limit lets all streams be loaded at once."""
    limit = service.max_connections
    return limit is None or count_connections(streams) <= limit - RESERVED_CONNECTIONS
