"""Real servers behind an Aiven project: each login works, and each thing that is wrong is told."""

import logging
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from kafka_pg_pipeline.adapters.kafka.inspector import KafkaInspector
from kafka_pg_pipeline.adapters.kafka.producer import produce_values
from kafka_pg_pipeline.adapters.kafka.reader import open_reader_factory
from kafka_pg_pipeline.adapters.postgres.connection import connect
from kafka_pg_pipeline.assembly.aiven import AivenLookup, build_lookup
from kafka_pg_pipeline.assembly.endpoints import Endpoints, resolve_endpoints
from kafka_pg_pipeline.errors import (
    AivenUnavailableError,
    AuthenticationError,
    ConfigurationError,
    KafkaUnavailableError,
    ServicePoweredOffError,
)
from kafka_pg_pipeline.local.distribution import KafkaDistribution
from kafka_pg_pipeline.settings.models import PipelineSettings
from kafka_pg_pipeline_tests.certificates import Authority
from kafka_pg_pipeline_tests.fix_aiven import (
    KAFKA,
    KAFKA_PASSWORD,
    PG_PASSWORD,
    POSTGRES,
    AivenServer,
)
from kafka_pg_pipeline_tests.fix_tls_servers import DATABASE, PROBE, AivenAccount
from kafka_pg_pipeline_tests.waiting import wait_until


def find(account: AivenServer, **sections: Any) -> Endpoints:
    """The servers as a file with this ``aiven:`` section leads to them."""
    aiven = account.settings(**sections.pop("aiven", {}))
    settings = PipelineSettings.model_validate({"streams": {}, **sections}).model_copy(
        update={"aiven": aiven}
    )
    return resolve_endpoints(settings, account.environment, find_stack=lambda: None)


def reach_kafka(endpoints: Endpoints) -> str:
    """The cluster's id, from a broker that has let us in."""
    with closing(
        KafkaInspector(
            endpoints.kafka, isolation="read_committed", client_id="t", deadline_seconds=8.0
        )
    ) as inspector:
        return inspector.fetch_identity(PROBE).cluster_id


def reach_postgres(endpoints: Endpoints) -> tuple[str, str]:
    """Our role, and whether the connection is encrypted."""
    with (
        closing(connect(endpoints.postgres, application_name="t")) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT current_user, current_setting('ssl')")
        found: tuple[str, str] = cursor.fetchone()
        return found


@pytest.mark.parametrize("authentication", ["certificate", "sasl"])
@pytest.mark.parametrize("user", [None, "etl"])
def test_both_ways_into_kafka_work(
    aiven_account: AivenAccount, authentication: str, user: str | None
) -> None:
    changes = {"kafka_authentication": authentication, "kafka_user": user}
    endpoints = find(aiven_account.api, aiven=changes)
    assert endpoints.kafka_named_by == "the Aiven service kafka-events of project acme-data"
    assert reach_kafka(endpoints)


@pytest.mark.parametrize("reader", ["kafka-python", "confluent"])
@pytest.mark.parametrize("authentication", ["certificate", "sasl"])
def test_records_are_written_and_read_by_either_client(
    aiven_account: AivenAccount, authentication: str, reader: str
) -> None:
    changes = {"kafka_authentication": authentication}
    kafka = find(aiven_account.api, aiven=changes, kafka={"reader": reader}).kafka
    assert produce_values(kafka, PROBE, [(None, b"x")]).acknowledged == 1
    open_reader = open_reader_factory(kafka, "read_committed", "t", "s")
    with closing(open_reader(PROBE, {0: 0})) as records:
        wait_until(lambda: bool(records.poll(max_records=10, timeout_seconds=1.0)), 10)


def test_postgres_is_reached_and_proved(aiven_account: AivenAccount) -> None:
    endpoints = find(aiven_account.api)
    settings = endpoints.postgres
    assert (settings.sslmode, settings.dbname) == ("verify-full", DATABASE)
    assert reach_postgres(endpoints) == ("avnadmin", "on")
    assert reach_postgres(find(aiven_account.api, aiven={"postgres_user": "etl"}))[0] == "etl"


def test_what_the_file_says_itself_wins(aiven_account: AivenAccount) -> None:
    endpoints = find(
        aiven_account.api,
        postgres={"host": "elsewhere", "dbname": "d"},
        kafka={"bootstrap_servers": "elsewhere:9092"},
    )
    assert aiven_account.api.calls == []
    assert endpoints.postgres.host == "elsewhere"
    assert endpoints.kafka.bootstrap_servers == "elsewhere:9092"
    endpoints = find(
        aiven_account.api,
        postgres={"dbname": "other", "user": "etl", "schema": "s", "sslmode": "verify-ca"},
        kafka={"request_timeout_seconds": 3},
    )
    postgres = endpoints.postgres
    assert (postgres.dbname, postgres.user, postgres.schema_name) == ("other", "etl", "s")
    assert postgres.sslmode == "verify-ca"
    assert endpoints.kafka.request_timeout_seconds == 3


def of_another_ca(account: AivenAccount) -> None:
    account.api.project_ca = Authority().pem


def at_another_name(account: AivenAccount) -> None:
    account.place_kafka(host="127.0.0.1")
    account.place_postgres(host="127.0.0.1")


def expired(account: AivenAccount) -> None:
    account.place_kafka(certificate=account.kafka.expired_port)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (of_another_ca, "cannot be proved .*(self.signed|unable to get)"),
        (at_another_name, "cannot be proved .*mismatch"),
        (expired, "cannot be proved .*expired"),
    ],
)
def test_a_kafka_that_cannot_be_trusted_is_told(
    aiven_account: AivenAccount,
    break_it: Callable[[AivenAccount], None],
    said: str,
) -> None:
    break_it(aiven_account)
    with pytest.raises(ConfigurationError, match=said):
        reach_kafka(find(aiven_account.api))


def test_a_kafka_that_does_not_take_our_certificate_is_told(
    aiven_account: AivenAccount, kafka_distribution: KafkaDistribution
) -> None:
    """Brokers of old garble the alert that says why they hang up: it is one of two causes then."""
    is_old = kafka_distribution.needs_zookeeper
    kind = KafkaUnavailableError if is_old else AuthenticationError
    aiven_account.rotate_certificate(expired=True)
    with pytest.raises(kind, match="does not take our certificate"):
        reach_kafka(find(aiven_account.api))


def test_a_refused_password_of_kafka_is_told(aiven_account: AivenAccount) -> None:
    aiven_account.api.services[KAFKA]["users"][0]["password"] = "another-one"
    with pytest.raises(AuthenticationError, match="refused the credentials"):
        reach_kafka(find(aiven_account.api, aiven={"kafka_authentication": "sasl"}))


def test_a_postgres_of_another_ca_is_refused(aiven_account: AivenAccount) -> None:
    of_another_ca(aiven_account)
    with pytest.raises(ConfigurationError, match="not signed by"):
        reach_postgres(find(aiven_account.api))


def test_an_expired_certificate_of_postgres_is_refused(aiven_account: AivenAccount) -> None:
    authority = aiven_account.authority
    aiven_account.postgres.show_certificate(authority.issue("localhost", expired=True))
    try:
        with pytest.raises(ConfigurationError, match="has expired"):
            reach_postgres(find(aiven_account.api))
    finally:
        aiven_account.postgres.show_certificate(authority.issue("localhost"))


def test_another_host_name_of_postgres_is_said_aloud_or_refused(
    aiven_account: AivenAccount, caplog: pytest.LogCaptureFixture
) -> None:
    """verify-ca proves the project's CA still; a file that says verify-full gets what it says."""
    at_another_name(aiven_account)
    assert reach_postgres(find(aiven_account.api)) == ("avnadmin", "on")
    assert "verify-ca in place of verify-full" in caplog.text
    with pytest.raises(ConfigurationError, match="for another host"):
        reach_postgres(find(aiven_account.api, postgres={"sslmode": "verify-full"}))
    caplog.clear()
    assert reach_postgres(find(aiven_account.api, postgres={"sslmode": "verify-ca"}))
    assert caplog.text == ""


def test_redacted_secrets_name_the_right_that_the_token_lacks(
    aiven_account: AivenAccount,
) -> None:
    aiven_account.api.use_sample(POSTGRES, "service_get_pg_redacted")
    with pytest.raises(AuthenticationError, match="service:secrets:read"):
        find(aiven_account.api)


def test_a_password_of_ones_own_comes_from_the_file(aiven_account: AivenAccount) -> None:
    aiven_account.api.services[POSTGRES]["users"][0]["password"] = None
    with pytest.raises(ConfigurationError, match=r"postgres\.password"):
        find(aiven_account.api)
    endpoints = find(aiven_account.api, postgres={"password": PG_PASSWORD})
    assert reach_postgres(endpoints)[0] == "avnadmin"
    aiven_account.api.services[KAFKA]["users"][0]["password"] = None
    with pytest.raises(ConfigurationError, match=r"kafka\.sasl_password"):
        find(
            aiven_account.api,
            aiven={"kafka_authentication": "sasl"},
            postgres={"password": PG_PASSWORD},
        )
    endpoints = find(
        aiven_account.api,
        aiven={"kafka_authentication": "sasl"},
        postgres={"password": PG_PASSWORD},
        kafka={"sasl_password": KAFKA_PASSWORD},
    )
    assert reach_kafka(endpoints)


# -- what the API alone decides --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kafka_user": "elt"}, r"aiven\.kafka_user.*did you mean 'etl'"),
        ({"postgres_user": "elt"}, r"aiven\.postgres_user.*did you mean 'etl'"),
        ({"postgres_pool": "landing"}, "did you mean 'landing-pool'"),
        ({"kafka_service": POSTGRES}, r"aiven\.kafka_service.*of the type 'pg'"),
        ({"postgres_service": KAFKA}, r"aiven\.postgres_service.*of the type 'kafka'"),
        ({"route": "private"}, "no address for certificate on the route private"),
    ],
)
def test_a_wrong_name_is_told_with_the_near_ones(
    aiven: AivenServer, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        find(aiven, aiven=changes)


def test_a_way_that_is_off_is_told_with_its_switch(aiven: AivenServer) -> None:
    aiven.use_sample(KAFKA, "service_get_kafka_cert_only")
    with pytest.raises(
        ConfigurationError,
        match=r"switch on kafka_authentication_methods\.sasl.*or set "
        r"aiven\.kafka_authentication: certificate",
    ):
        find(aiven, aiven={"kafka_authentication": "sasl"})
    aiven.use_sample(KAFKA, "service_get_kafka")
    mechanisms = aiven.services[KAFKA]["user_config"]["kafka_sasl_mechanisms"]
    mechanisms["scram_sha_256"] = False
    with pytest.raises(ConfigurationError, match=r"kafka_sasl_mechanisms\.scram_sha_256"):
        find(aiven, aiven={"kafka_authentication": "sasl"})


def test_sasl_takes_the_address_that_the_projects_ca_proves(aiven: AivenServer) -> None:
    aiven.services[KAFKA]["components"].reverse()
    found = find(aiven, aiven={"kafka_authentication": "sasl"}).kafka
    assert found.bootstrap_servers.endswith(":13052")
    components = aiven.services[KAFKA]["components"]
    aiven.services[KAFKA]["components"] = [
        c for c in components if c.get("kafka_ssl_ca") == "letsencrypt"
    ]
    found = find(aiven, aiven={"kafka_authentication": "sasl"}).kafka
    assert found.bootstrap_servers.endswith(":13059")
    assert found.ca != aiven.project_ca  # type: ignore[attr-defined]


def test_the_route_chooses_the_address(aiven: AivenServer) -> None:
    found = find(aiven, aiven={"route": "public"})
    assert found.kafka.bootstrap_servers.startswith("public-kafka-events")
    assert found.postgres.host.startswith("public-pg-landing")


def test_a_pool_is_reached_at_its_own_port_by_its_name(aiven: AivenServer) -> None:
    found = find(aiven, aiven={"postgres_pool": "landing-pool"}).postgres
    assert (found.port, found.dbname, found.user) == (12692, "landing-pool", "avnadmin")
    aiven.services[POSTGRES]["connection_pools"][0]["pool_mode"] = "statement"
    with pytest.raises(ConfigurationError, match="transaction mode"):
        find(aiven, aiven={"postgres_pool": "landing-pool"})


def test_the_schema_registry_of_the_service_serves_where_none_is_named(aiven: AivenServer) -> None:
    found = find(aiven).schema_registry
    assert found.url == "https://kafka-events-acme-data.a.aivencloud.example:13044"
    assert found.username == "avnadmin"
    aiven.use_sample(KAFKA, "service_get_kafka_cert_only")
    assert find(aiven).schema_registry.url == ""


def wait_for(
    aiven: AivenServer, states: list[str], **options: Any
) -> tuple[AivenLookup, list[float]]:
    """A look-up of a service that takes these states, one after the other."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        aiven.services[POSTGRES]["state"] = states.pop(0)

    aiven.services[POSTGRES]["state"] = states.pop(0)
    lookup = build_lookup(aiven.settings(), aiven.environment, **options)
    lookup._sleep = sleep
    return lookup, waits


def test_a_service_that_is_being_rebuilt_is_waited_for(aiven: AivenServer) -> None:
    lookup, waits = wait_for(aiven, ["REBUILDING", "REBUILDING", "RUNNING"])
    assert lookup.fetch_service(POSTGRES).state.value == "RUNNING"
    assert len(waits) == 2


def test_the_wait_for_a_service_has_an_end(aiven: AivenServer) -> None:
    lookup, _ = wait_for(aiven, ["REBUILDING"], wait_seconds=0.0)
    with pytest.raises(AivenUnavailableError, match="REBUILDING and not ready"):
        lookup.fetch_service(POSTGRES)


def test_a_service_that_rebalances_serves_and_says_so(
    aiven: AivenServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    lookup, waits = wait_for(aiven, ["REBALANCING"])
    assert lookup.fetch_service(POSTGRES).name == POSTGRES
    assert "REBALANCING" in caplog.text
    assert waits == []


@pytest.mark.parametrize(("state", "said"), [("POWEROFF", "--power-on"), ("NEW", "'NEW'")])
def test_a_service_that_does_not_run_is_told_at_once(
    aiven: AivenServer, state: str, said: str
) -> None:
    lookup, waits = wait_for(aiven, [state])
    with pytest.raises(ServicePoweredOffError, match=said):
        lookup.fetch_service(POSTGRES)
    assert waits == []
    aiven.use_sample(POSTGRES, "service_get_pg_poweroff")
    with pytest.raises(ServicePoweredOffError):
        find(aiven)


def test_a_look_up_asks_once_until_it_is_told_to_forget(aiven: AivenServer) -> None:
    lookup = build_lookup(aiven.settings(), aiven.environment)
    settings = PipelineSettings(streams={}, aiven=aiven.settings())
    for _ in range(3):
        resolve_endpoints(settings, {}, lambda: None, lookup)
    assert len(aiven.calls) == 3  # two services and the CA
    lookup.forget()
    resolve_endpoints(settings, {}, lambda: None, lookup)
    assert len(aiven.calls) == 6
