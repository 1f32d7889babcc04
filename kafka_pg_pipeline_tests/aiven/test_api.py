"""The client against a real HTTPS server: what it sends, what it waits for, what it says."""

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kafka_pg_pipeline.adapters.aiven.client import AivenApi
from kafka_pg_pipeline.adapters.aiven.directory import AivenDirectory
from kafka_pg_pipeline.domain.services import ServiceState
from kafka_pg_pipeline.errors import (
    AivenUnavailableError,
    AuthenticationError,
    ConfigurationError,
)
from kafka_pg_pipeline_tests.fix_aiven import (
    ETL_PASSWORD,
    KAFKA,
    MARKERS,
    POSTGRES,
    PROJECT,
    TOKEN,
    AivenServer,
    Call,
    read_sample,
)

Ask = Callable[..., AivenDirectory]
TRY_AGAIN = "trying again in"


@pytest.fixture
def waits() -> list[float]:
    """How long the client has waited, without anybody waiting."""
    return []


@pytest.fixture
def ask(aiven: AivenServer, waits: list[float]) -> Iterator[Ask]:
    opened: list[AivenDirectory] = []

    def make(
        project: str = PROJECT, project_ca: Path | None = None, **options: Any
    ) -> AivenDirectory:
        given = {"url": aiven.url, "cafile": aiven.cafile, "sleep": waits.append, **options}
        token = given.pop("token", TOKEN)
        opened.append(AivenDirectory(AivenApi(token, **given), project, cafile=project_ca))
        return opened[-1]

    yield make
    for directory in opened:
        directory.close()


def last(aiven: AivenServer) -> Call:
    return aiven.calls[-1]


def test_a_call_carries_the_token_our_name_and_asks_for_secrets(
    ask: Ask, aiven: AivenServer
) -> None:
    service = ask().fetch_service(KAFKA)
    assert last(aiven).headers["Authorization"] == f"aivenv1 {TOKEN}"
    assert last(aiven).headers["User-Agent"].startswith("kafka-pg-pipeline/")
    assert last(aiven).query == "include_secrets=true"
    assert service.find_user("etl").password == ETL_PASSWORD  # type: ignore[union-attr]


def test_a_netrc_for_the_host_does_not_replace_the_token(
    ask: Ask, aiven: AivenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login me password mine\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    ask().check_project()
    assert last(aiven).headers["Authorization"] == f"aivenv1 {TOKEN}"


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/"])
def test_the_address_may_end_as_people_write_it(ask: Ask, aiven: AivenServer, tail: str) -> None:
    ask(url=aiven.url + tail).check_project()
    assert last(aiven).path == f"/v1/project/{PROJECT}"


def test_names_are_encoded_in_the_path(ask: Ask, aiven: AivenServer) -> None:
    with pytest.raises(ConfigurationError):
        ask().fetch_service("a/b?c d")
    assert "GET /v1/project/acme-data/service/a%2Fb%3Fc%20d" in aiven.paths()


@pytest.mark.parametrize(
    ("status", "sample"),
    [
        (501, "error_501_try_again"),
        (503, "error_503_unavailable"),
        (408, None),
        (500, None),
        (502, None),
        (504, None),
        (404, {"message": "User (avnadmin) with component main not found"}),
        (409, "error_409_topic_not_synchronized"),
        (0, None),  # hangs up
    ],
)
def test_what_passes_is_tried_again(
    ask: Ask, aiven: AivenServer, waits: list[float], status: int, sample: Any
) -> None:
    aiven.fail("service/kafka-events$", status, sample, times=2)
    assert ask().fetch_service(KAFKA).state is ServiceState.RUNNING
    assert len(waits) == 2
    assert all(0 < wait <= 16 for wait in waits)


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, "error_429_rate_limited", 28.0),
        ({"Retry-After": "3"}, "error_429_rate_limited", 3.0),
        ({}, "Slow down", None),
    ],
)
def test_a_limit_is_waited_for_as_long_as_it_says(
    ask: Ask,
    aiven: AivenServer,
    waits: list[float],
    caplog: pytest.LogCaptureFixture,
    headers: dict[str, str],
    body: str,
    expected: float | None,
) -> None:
    aiven.fail("service$", 429, body, times=1, headers=headers)
    assert len(ask().fetch_services()) == 2
    assert len(waits) == 1
    assert expected is None or waits == [expected]
    assert TRY_AGAIN in caplog.text


def test_a_limit_that_outlasts_our_patience_is_told_at_once(
    ask: Ask, aiven: AivenServer, waits: list[float]
) -> None:
    aiven.fail("service$", 429, "error_429_rate_limited")
    with pytest.raises(AivenUnavailableError, match="busy or not ready"):
        ask(patience_seconds=10.0).fetch_services()
    assert waits == []
    assert len(aiven.calls) == 1


def test_no_fault_is_tried_again_for_ever(ask: Ask, aiven: AivenServer, waits: list[float]) -> None:
    aiven.fail("service$", 503, "error_503_unavailable")
    with pytest.raises(AivenUnavailableError, match="Service Unavailable"):
        ask().fetch_services()
    assert len(aiven.calls) == 7


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ("error_401_expired_token", "the token has expired"),
        ("error_401_invalid_token", "the token is not valid"),
        ("error_401_no_credentials", "no token reached it"),
    ],
)
def test_a_refused_token_is_told_at_once_with_its_cure(
    ask: Ask, aiven: AivenServer, waits: list[float], sample: str, said: str
) -> None:
    aiven.fail(".", 401, sample)
    with pytest.raises(AuthenticationError, match=rf"{said}.*AIVEN_TOKEN"):
        ask().fetch_service(KAFKA)
    assert waits == []


@pytest.mark.parametrize("token", ["", "  ", "two words", "line\nbreak", "Schlüssel"])
def test_what_is_no_token_is_told_without_it(ask: Ask, token: str) -> None:
    with pytest.raises(AuthenticationError, match="AIVEN_TOKEN") as caught:
        ask(token=token)
    assert "Schl" not in str(caught.value)
    assert "line" not in str(caught.value).replace("one line", "")


def test_a_misspelt_project_is_told_with_those_that_the_token_sees(ask: Ask) -> None:
    """Aiven answers 403 as though we were no member."""
    with pytest.raises(AuthenticationError, match="did you mean 'acme-data'"):
        ask("acme-dat").check_project()


def test_a_project_that_is_not_there_is_told_as_well(ask: Ask, aiven: AivenServer) -> None:
    aiven.fail("project/other$", 404, "error_404_project")
    aiven.fail("project/other/service$", 404, "error_404_project")
    with pytest.raises(ConfigurationError, match="the token sees the projects 'acme-data'"):
        ask("other").check_project()


def test_the_list_of_services_proves_the_project_once_its_own_call_is_gone(
    ask: Ask, aiven: AivenServer
) -> None:
    aiven.fail(f"project/{PROJECT}$", 410, {"message": "Gone"})
    ask().check_project()
    assert last(aiven).path.endswith("/service")


def test_a_misspelt_service_is_told_with_near_names(ask: Ask) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'kafka-events'"):
        ask().fetch_service("kafka-event")
    with pytest.raises(ConfigurationError, match="the project has 'kafka-events', 'pg-landing'"):
        ask().fetch_service("zzz")


def test_a_missing_right_is_named(ask: Ask, aiven: AivenServer) -> None:
    aiven.fail("kms/ca|topic", 403, {"message": "Not allowed"})
    with pytest.raises(AuthenticationError, match="AIVEN_PROJECT_CA_PATH"):
        ask().fetch_ca()
    with pytest.raises(AuthenticationError, match="service:data:write"):
        ask().fetch_topics(KAFKA)


def test_the_ca_may_come_from_a_file(ask: Ask, aiven: AivenServer, tmp_path: Path) -> None:
    assert ask(project_ca=aiven.cafile).fetch_ca() == aiven.authority.pem
    assert aiven.calls == []
    for content in (b"", b"\xff\xfe", b"no certificate"):
        (tmp_path / "ca").write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"aiven\.project_cafile"):
            ask(project_ca=tmp_path / "ca").fetch_ca()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        ask(project_ca=tmp_path / "none").fetch_ca()


@pytest.mark.parametrize(
    "body",
    [
        "plain text",
        "",
        {},
        [],
        None,
        {"errors": "a text"},
        {"errors": ["a text"]},
        {"errors": [None], "message": None},
        {"message": {"nested": 1}, "errors": {"message": 2}},
    ],
)
def test_errors_are_read_whatever_their_form(ask: Ask, aiven: AivenServer, body: Any) -> None:
    aiven.fail("service/", 400, body)
    with pytest.raises(ConfigurationError, match="HTTP 400"):
        ask().fetch_service(KAFKA)


@pytest.mark.parametrize("body", ["<html>captive</html>", {}, {"service": None}, {"service": []}])
def test_an_answer_that_is_none_of_aivens_is_told(ask: Ask, aiven: AivenServer, body: Any) -> None:
    aiven.fail("service/", 200, body)
    with pytest.raises(AivenUnavailableError, match="answer"):
        ask().fetch_service(KAFKA)


def test_a_redirect_is_not_followed_with_our_token(ask: Ask, aiven: AivenServer) -> None:
    aiven.fail("service$", 302, "", headers={"Location": f"{aiven.url}/v1/project"})
    with pytest.raises(ConfigurationError, match="AIVEN_API_URL leads elsewhere"):
        ask().fetch_services()
    assert len(aiven.calls) == 1


def test_an_api_with_another_ca_gets_no_token(ask: Ask, aiven: AivenServer) -> None:
    with pytest.raises(ConfigurationError, match="AIVEN_CA_CERT"):
        ask(cafile=None).check_project()
    assert aiven.calls == []


def test_nobody_who_answers_is_told_with_the_address(ask: Ask, waits: list[float]) -> None:
    with pytest.raises(AivenUnavailableError, match=r"127\.0\.0\.1:9 does not answer"):
        ask(url="https://127.0.0.1:9").check_project()
    assert len(waits) == 6


def test_nulls_and_missing_fields_are_borne_everywhere(ask: Ask, aiven: AivenServer) -> None:
    full = aiven.services[KAFKA]
    required = {"service_name": KAFKA, "service_type": "kafka", "state": "RUNNING"}
    for body in (required, {**dict.fromkeys(full), **required}):
        aiven.services[KAFKA] = body
        found = ask().fetch_service(KAFKA)
        assert (found.components, found.users, found.pools, found.updates) == ((), (), (), ())
    aiven.services[KAFKA] = {**required, "users": [None, {}], "components": [{"port": "x"}, 3]}
    assert ask().fetch_service(KAFKA).components == ()


def test_what_a_service_is_like_is_read(ask: Ask) -> None:
    postgres = ask().fetch_service(POSTGRES)
    assert postgres.is_postgres
    assert postgres.max_connections == 100
    assert (postgres.pools[0].name, postgres.pools[0].mode) == ("landing-pool", "transaction")
    assert postgres.updates[0].description == "Maintenance update"
    assert postgres.parameters["port"] == "12691"
    kafka = ask().fetch_service(KAFKA)
    ports = {
        (c.authentication, c.has_public_ca): c.port
        for c in kafka.find_components("kafka", "dynamic")
    }
    assert ports == {
        ("certificate", False): 13041,
        ("sasl", False): 13052,
        ("sasl", True): 13059,
    }
    assert kafka.switches["kafka_sasl_mechanisms.scram_sha_256"]
    ends = kafka.find_user("etl").certificate_ends  # type: ignore[union-attr]
    assert ends is not None
    assert ends.year == 2099


def test_partitions_are_a_number_or_a_list(ask: Ask, aiven: AivenServer) -> None:
    aiven.topics.append(read_sample("kafka_topic_get")["topic"])
    counts = [topic.partitions for topic in ask().fetch_topics(KAFKA)]
    assert counts == [2, 3, 1, 25, 2]


def test_no_secret_is_in_any_error_log_or_repr(
    ask: Ask, aiven: AivenServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the server repeats them: of a failed answer the message counts, scrubbed."""
    caplog.set_level(logging.DEBUG)
    service = ask().fetch_service(KAFKA)
    shown = [repr(service), repr(ask()), repr(ask().fetch_service(POSTGRES))]
    secret = aiven.services[KAFKA]["users"][0]["access_key"]
    telling = {
        "message": f"failed postgres://me:{MARKERS[1]}@host {secret}",
        "service": aiven.services[KAFKA],
        "errors": [{"message": MARKERS[2]}],
    }
    for status in (400, 403, 500):
        aiven.faults.clear()
        aiven.fail("service/", status, telling)
        with pytest.raises((ConfigurationError, AuthenticationError, AivenUnavailableError)) as e:
            ask().fetch_service(KAFKA)
        shown += traceback.format_exception(e.value)
        assert e.value.__cause__ is None
    told = "".join(shown) + caplog.text
    for marker in (*MARKERS, "RkFLRSBLRVk="):
        assert marker not in told


def test_a_closed_directory_leaves_no_connection(ask: Ask) -> None:
    with closing(ask()) as directory:
        directory.check_project()
    directory.close()  # once more
    assert directory.project == PROJECT


def test_what_is_to_be_created_is_asked_for_again_only_where_it_was_put_off(
    ask: Ask, aiven: AivenServer, waits: list[float]
) -> None:
    """A call that was lost may have had its effect; whoever asks again looks first."""
    aiven.fail("POST", 501, "error_501_try_again", times=1)
    ask().create_topic(KAFKA, "new", partitions=1, replication=1)
    assert len(waits) == 1
    aiven.fail("POST", 0, None)
    with pytest.raises(AivenUnavailableError):
        ask().create_topic(KAFKA, "newer", partitions=1, replication=1)
    assert len(waits) == 1
