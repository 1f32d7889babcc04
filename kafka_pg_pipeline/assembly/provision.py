"""Creates in Aiven what streams lack, from a plan that was shown; never deletes anything."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from kafka_pg_pipeline.domain.services import AccessRule, Service
from kafka_pg_pipeline.ports import ServiceDirectory
from kafka_pg_pipeline.settings.models import PipelineSettings, StreamSettings

_IMPLIED = {
    "read": ("read", "readwrite", "admin"),
    "write": ("write", "readwrite", "admin"),
    "readwrite": ("readwrite", "admin"),
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a new topic is given."""

    partitions: int
    replication: int


@dataclass(frozen=True, slots=True)
class TopicStep:
    """A topic that is missing."""

    service: str
    topic: str
    sizes: Sizes

    def __str__(self) -> str:
        return (
            f"topic {self.topic} in {self.service} ({self.sizes.partitions} partitions, "
            f"{self.sizes.replication} replicas)"
        )


@dataclass(frozen=True, slots=True)
class DatabaseStep:
    """A database that is missing."""

    service: str
    database: str

    def __str__(self) -> str:
        return f"database {self.database} in {self.service}"


@dataclass(frozen=True, slots=True)
class UserStep:
    """A user that is missing."""

    service: str
    user: str

    def __str__(self) -> str:
        return f"user {self.user} in {self.service}"


@dataclass(frozen=True, slots=True)
class AccessStep:
    """A right that a Kafka user lacks."""

    service: str
    rule: AccessRule

    def __str__(self) -> str:
        rule = self.rule
        return f"right of {rule.user} to {rule.permission} {rule.topic} in {self.service}"


Step = TopicStep | DatabaseStep | UserStep | AccessStep


def fetch_plan(
    directory: ServiceDirectory,
    settings: PipelineSettings,
    streams: Mapping[str, StreamSettings],
    sizes: Sizes,
) -> tuple[Step, ...]:
    """What is missing for these streams, in the order in which to create it.

    Raises:
        AivenUnavailableError, AuthenticationError, ConfigurationError: see ServiceDirectory.
    """
    plan: list[Step] = []
    aiven = settings.aiven
    if aiven.kafka_service:
        kafka = directory.fetch_service(aiven.kafka_service)
        topics = {topic.name for topic in directory.fetch_topics(kafka.name)} | {*kafka.topics}
        plan += plan_kafka(kafka, topics, aiven.kafka_user, streams, sizes)
    if aiven.postgres_service:
        postgres = directory.fetch_service(aiven.postgres_service)
        user = aiven.postgres_user or settings.postgres.user or None
        plan += plan_postgres(postgres, settings.postgres.dbname, user)
    return tuple(plan)


def plan_kafka(
    service: Service,
    topics: set[str],
    user: str | None,
    streams: Mapping[str, StreamSettings],
    sizes: Sizes,
) -> Iterator[Step]:
    """Topics that are missing, then the user, then the rights that it lacks."""
    wanted = _find_uses(streams)
    for topic in wanted:
        if topic not in topics:
            yield TopicStep(service.name, topic, sizes)
    if user is None:
        return
    if service.find_user(user) is None:
        yield UserStep(service.name, user)
    for topic, permission in wanted.items():
        if not _is_allowed(service.access_rules, user, topic, permission):
            yield AccessStep(service.name, AccessRule(user, topic, permission))


def plan_postgres(service: Service, database: str, user: str | None) -> Iterator[Step]:
    """The database and the user, where they are named and missing."""
    if database and database not in service.databases:
        yield DatabaseStep(service.name, database)
    if user is not None and service.find_user(user) is None:
        yield UserStep(service.name, user)


def apply_step(directory: ServiceDirectory, step: Step) -> None:
    """Create one thing; one that is there by now is left as it is.

    Raises:
        AivenUnavailableError, AuthenticationError, ConfigurationError: see ServiceDirectory.
    """
    match step:
        case TopicStep(service, topic, sizes):
            directory.create_topic(
                service, topic, partitions=sizes.partitions, replication=sizes.replication
            )
        case DatabaseStep(service, database):
            directory.create_database(service, database)
        case UserStep(service, user):
            directory.create_user(service, user)
        case AccessStep(service, rule):
            directory.create_access_rule(service, rule)


def _find_uses(streams: Mapping[str, StreamSettings]) -> dict[str, str]:
    """What the pipeline does with each topic: read, write, or readwrite."""
    uses: dict[str, str] = {}
    for stream in streams.values():
        uses[stream.topic] = _add(uses.get(stream.topic), "read")
        if stream.source is not None:
            uses[stream.topic] = _add(uses[stream.topic], "write")
        letters = stream.dead_letters.topic
        if letters is not None:
            uses[letters] = _add(uses.get(letters), "write")
    return uses


def _add(before: str | None, use: str) -> str:
    return use if before in (None, use) else "readwrite"


def _is_allowed(rules: tuple[AccessRule, ...], user: str, topic: str, permission: str) -> bool:
    """Whether a rule lets the user; patterns of topics and users know * and ?."""
    return any(
        fnmatchcase(user, rule.user)
        and fnmatchcase(topic, rule.topic)
        and rule.permission in _IMPLIED[permission]
        for rule in rules
    )
