"""Aiven's JSON to services of the domain: whatever may be missing or null may be so here."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from kafka_pg_pipeline.domain.services import (
    AccessRule,
    Component,
    ConnectionPool,
    MaintenanceUpdate,
    Service,
    ServiceState,
    ServiceTopic,
    ServiceUser,
)
from kafka_pg_pipeline.errors import AuthenticationError

REDACTED = "<redacted>"
_SECRETS = "service:secrets:read"
_SWITCHES = ("kafka_authentication_methods", "kafka_sasl_mechanisms")


def parse_service(raw: Any) -> Service | None:
    """A service, None where this is none."""
    found = _object(raw)
    name = _text(found.get("service_name"))
    if not name:
        return None
    word = _text(found.get("state"))
    metadata = _object(found.get("metadata"))
    return Service(
        name=name,
        type=_text(found.get("service_type")),
        state=_state(word),
        state_word=word,
        plan=_text(found.get("plan")),
        cloud=_text(found.get("cloud_name")),
        components=tuple(_components(found)),
        users=tuple(map(parse_user, _objects(found.get("users")))),
        pools=tuple(map(_pool, _objects(found.get("connection_pools")))),
        databases=tuple(filter(None, map(_text, _list(found.get("databases"))))),
        topics=tuple(_text(topic.get("topic_name")) for topic in _objects(found.get("topics"))),
        access_rules=tuple(map(_access_rule, _objects(found.get("acl")))),
        parameters={
            name: str(value)
            for name, value in _object(found.get("service_uri_params")).items()
            if value is not None
        },
        switches=dict(_switches(_object(found.get("user_config")))),
        max_connections=_number(metadata.get("max_connections")),
        version=_text(metadata.get("pg_version")) or _text(metadata.get("kafka_version")),
        updates=tuple(map(_update, _objects(_object(found.get("maintenance")).get("updates")))),
        maintenance_window=_window(_object(found.get("maintenance"))),
        notices=tuple(
            filter(
                None,
                (_text(n.get("message")) for n in _objects(found.get("service_notifications"))),
            )
        ),
    )


def parse_user(raw: Mapping[str, Any]) -> ServiceUser:
    """A user of a service."""
    return ServiceUser(
        name=_text(raw.get("username")),
        type=_text(raw.get("type")),
        password=_text(raw.get("password")) or None,
        certificate=_text(raw.get("access_cert")) or None,
        key=_text(raw.get("access_key")) or None,
        certificate_ends=parse_time(raw.get("access_cert_not_valid_after_time")),
    )


def parse_topics(raw: Any) -> tuple[ServiceTopic, ...]:
    """Topics of a list; in the answer about one topic ``partitions`` is a list of them."""
    return tuple(
        ServiceTopic(
            name=_text(topic.get("topic_name")),
            partitions=_count(topic.get("partitions")),
            replication=_number(topic.get("replication")) or 0,
            state=_text(topic.get("state")),
        )
        for topic in _objects(raw)
    )


def parse_time(raw: Any) -> datetime | None:
    """A moment with its zone; None where this is none."""
    try:
        moment = datetime.fromisoformat(_text(raw).replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def is_redacted(value: str | None) -> bool:
    """Whether the API gave a placeholder instead of a secret."""
    return value is not None and REDACTED in value


def insist_on_secret(value: str | None, what: str) -> str:
    """A secret that the API really gave.

    Raises:
        AuthenticationError: the token may not read it, or Aiven does not know it.
    """
    if is_redacted(value):
        raise AuthenticationError(
            f"Aiven gives {what} to nobody with this token: it lacks the right {_SECRETS}; grant "
            "it to the token's user, or to the application user"
        )
    if not value:
        raise AuthenticationError(f"Aiven does not know {what}")
    return value


def _state(word: str) -> ServiceState:
    try:
        return ServiceState(word)
    except ValueError:
        return ServiceState.UNKNOWN


def _components(found: Mapping[str, Any]) -> Iterator[Component]:
    for raw in _objects(found.get("components")):
        host, port = _text(raw.get("host")), _number(raw.get("port"))
        if host and port:
            yield Component(
                kind=_text(raw.get("component")),
                host=host,
                port=port,
                route=_text(raw.get("route")) or "dynamic",
                usage=_text(raw.get("usage")) or "primary",
                authentication=_text(raw.get("kafka_authentication_method")) or None,
                has_public_ca=raw.get("kafka_ssl_ca") == "letsencrypt",
            )


def _pool(raw: Mapping[str, Any]) -> ConnectionPool:
    return ConnectionPool(
        name=_text(raw.get("pool_name")),
        database=_text(raw.get("database")),
        mode=_text(raw.get("pool_mode")),
        size=_number(raw.get("pool_size")) or 0,
        user=_text(raw.get("username")) or None,
    )


def _access_rule(raw: Mapping[str, Any]) -> AccessRule:
    return AccessRule(
        _text(raw.get("username")), _text(raw.get("topic")), _text(raw.get("permission"))
    )


def _update(raw: Mapping[str, Any]) -> MaintenanceUpdate:
    return MaintenanceUpdate(
        _text(raw.get("description")),
        parse_time(raw.get("start_at")) or parse_time(raw.get("start_after")),
        parse_time(raw.get("deadline")),
    )


def _window(raw: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (_text(raw.get("dow")), _text(raw.get("time"))[:5])))


def _switches(config: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    for name, value in config.items():
        if isinstance(value, bool):
            yield name, value
        elif name in _SWITCHES:
            for inner, flag in _object(value).items():
                if isinstance(flag, bool):
                    yield f"{name}.{inner}", flag


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    return (item for item in _list(value) if isinstance(item, dict))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and value.isdigit() else None


def _count(value: Any) -> int:
    return len(value) if isinstance(value, list) else _number(value) or 0
