"""From a service as Aiven describes it to the settings that reach it; pure."""

import difflib
from collections.abc import Iterable
from typing import Any

import certifi
from pydantic import SecretStr

from kafka_pg_pipeline.adapters.aiven.parsing import insist_on_secret, is_redacted
from kafka_pg_pipeline.domain.services import Component, ConnectionPool, Service, ServiceUser
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.settings.discovered import (
    DiscoveredKafka,
    DiscoveredPostgres,
    DiscoveredRegistry,
)
from kafka_pg_pipeline.settings.models import (
    AivenSettings,
    KafkaSettings,
    PostgresSettings,
    SchemaRegistrySettings,
)

# What the directory decides; the rest of the section counts as it stands in the file.
_KAFKA_LOGIN = (
    "bootstrap_servers",
    "security_protocol",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
)


def build_kafka(
    service: Service, user: ServiceUser, ca: str, settings: AivenSettings, base: KafkaSettings
) -> DiscoveredKafka:
    """How to reach a Kafka service, by the authentication and the route that were asked for.

    ``base`` gives time limits, and a SASL password that Aiven does not know.

    Raises:
        ConfigurationError: the service has no such address; names what to switch on.
        AuthenticationError: a secret was not given to this token.
    """
    component = choose_kafka_component(service, settings)
    found: dict[str, Any] = {
        **_given(base, _KAFKA_LOGIN),
        "bootstrap_servers": f"{component.host}:{component.port}",
        "ca": _public_ca() if component.has_public_ca else ca,
    }
    if settings.kafka_authentication == "certificate":
        owner = f"of the user {user.name!r} of {service.name}"
        found |= {
            "security_protocol": "SSL",
            "certificate": insist_on_secret(user.certificate, f"the certificate {owner}"),
            "key": SecretStr(insist_on_secret(user.key, f"the key {owner}")),
        }
    else:
        _insist_on_mechanism(service, settings.kafka_sasl_mechanism)
        found |= {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_username": user.name,
            "sasl_password": base.sasl_password or _password(service, user, "kafka.sasl_password"),
        }
    return DiscoveredKafka.model_validate(found)


def choose_kafka_component(service: Service, settings: AivenSettings) -> Component:
    """The address for the way of logging in; proved by the project's CA where there is a choice.

    Raises:
        ConfigurationError: there is none; names the key of ``user_config`` that switches it on.
    """
    method = settings.kafka_authentication
    fitting = [
        component
        for component in service.find_components("kafka", settings.route)
        if (component.authentication or "certificate") == method
    ]
    if fitting:
        return min(fitting, key=lambda component: component.has_public_ca)
    others = {component.authentication for component in service.components} - {None, method}
    instead = f", or set aiven.kafka_authentication: {min(map(str, others))}" if others else ""
    raise ConfigurationError(
        f"the Aiven service {service.name!r} has no address for {method} on the route "
        f"{settings.route}: {_name_switch(f'kafka_authentication_methods.{method}', service)}"
        f"{_name_route(settings.route, 'kafka')}{instead}"
    )


def build_postgres(
    service: Service, ca: str, settings: AivenSettings, base: PostgresSettings
) -> DiscoveredPostgres:
    """How to reach a PostgreSQL service, itself or one of its pools.

    What ``base`` says of database, user, password and sslmode wins.

    Raises:
        ConfigurationError: there is no such address, pool or user; near names are told.
        AuthenticationError: a secret was not given to this token.
    """
    pool = _choose_pool(service, settings.postgres_pool)
    host, port = _find_postgres(service, settings.route, "pg" if pool is None else "pgbouncer")
    name = settings.postgres_user or base.user or (pool.user if pool else None)
    user = choose_user(service, name, "aiven.postgres_user")
    database = pool.name if pool else base.dbname or service.parameters.get("dbname", "defaultdb")
    insists = "sslmode" in base.model_fields_set
    return DiscoveredPostgres.model_validate(
        {
            **_given(base, ("schema_name", "sslrootcert")),
            "schema": base.schema_name,
            "host": host,
            "port": port,
            "dbname": database,
            "user": user.name,
            "password": base.password or _password(service, user, "postgres.password"),
            "sslmode": base.sslmode if insists else "verify-full",
            "ca": ca,
            "may_lower_sslmode": not insists,
        }
    )


def build_registry(
    service: Service, user: ServiceUser, ca: str, route: str, base: SchemaRegistrySettings
) -> SchemaRegistrySettings:
    """How to reach the service's schema registry; ``base`` where it has none that we may ask.

    Few streams need one, so that a password which Aiven does not tell stops none of the others.
    """
    found = service.find_components("schema_registry", route)
    password = base.password or user.password
    if not found or password is None or is_redacted(user.password):
        return base
    return DiscoveredRegistry.model_validate(
        {
            **_given(base, ()),
            "url": f"https://{found[0].host}:{found[0].port}",
            "username": base.username or user.name,
            "password": password,
            "ca": ca,
        }
    )


def choose_user(service: Service, name: str | None, key: str) -> ServiceUser:
    """The user of that name; without a name the service's first.

    Raises:
        ConfigurationError: there is none; names near ones.
    """
    user = service.find_user(name)
    if user is None:
        names = [known.name for known in service.users]
        raise ConfigurationError(
            f"{key}: the Aiven service {service.name!r} has no user {name or ''!r}: "
            f"{_near(name or '', names)}"
        )
    return user


def _find_postgres(service: Service, route: str, kind: str) -> tuple[str, int]:
    found = service.find_components(kind, route)
    if found:
        return found[0].host, found[0].port
    host, port = service.parameters.get("host"), service.parameters.get("port", "")
    # A service need not list its components; its own address is that of the dynamic route.
    if not service.components and kind == "pg" and route == "dynamic" and host and port.isdigit():
        return host, int(port)
    raise ConfigurationError(
        f"the Aiven service {service.name!r} has no address of {kind} on the route {route}"
        f"{_name_route(route, kind)}; check aiven.route"
    )


def _choose_pool(service: Service, name: str | None) -> ConnectionPool | None:
    if name is None:
        return None
    pool = next((pool for pool in service.pools if pool.name == name), None)
    if pool is None:
        names = [pool.name for pool in service.pools]
        raise ConfigurationError(
            f"aiven.postgres_pool: the Aiven service {service.name!r} has no connection pool "
            f"{name!r}: {_near(name, names)}. `avn service connection-pool-create` makes one"
        )
    if pool.mode == "statement":
        raise ConfigurationError(
            f"aiven.postgres_pool: the pool {name!r} is in statement mode, and a batch is one "
            "transaction of several: use one in transaction mode"
        )
    return pool


def _insist_on_mechanism(service: Service, mechanism: str) -> None:
    switch = f"kafka_sasl_mechanisms.{mechanism.lower().replace('-', '_')}"
    if service.switches.get(switch) is False:
        raise ConfigurationError(
            f"the Aiven service {service.name!r} does not take {mechanism}: "
            f"{_name_switch(switch, service)}, or choose another aiven.kafka_sasl_mechanism"
        )


def _password(service: Service, user: ServiceUser, key: str) -> SecretStr:
    if user.password is None:
        raise ConfigurationError(
            f"Aiven does not know the password of the user {user.name!r} of {service.name!r}, as "
            f"somebody set one of their own: name the variable that holds it in {key}"
        )
    what = f"the password of the user {user.name!r} of {service.name!r}"
    return SecretStr(insist_on_secret(user.password, what))


def _name_switch(switch: str, service: Service) -> str:
    return (
        f"switch on {switch} in its advanced configuration (`avn service update {service.name} -c "
        f"{switch}=true`)"
    )


def _name_route(route: str, kind: str) -> str:
    words = {
        "public": f", and public_access.{kind}",
        "privatelink": f", and privatelink_access.{kind}",
    }
    return words.get(route, "")


def _near(name: str, names: Iterable[str]) -> str:
    known = list(names)
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"it has {', '.join(map(repr, known)) or 'none'}"


def _given(section: Any, without: Iterable[str]) -> dict[str, Any]:
    """What the file says in a section."""
    named = section.model_fields_set - set(without)
    return {name: getattr(section, name) for name in named}


def _public_ca() -> str:
    with open(certifi.where(), encoding="ascii") as file:  # noqa: PTH123 - certifi names a text
        return file.read()
