"""Examines the Aiven project that the servers come from: token, services, limits, certificates."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime, timezone

from kafka_pg_pipeline.assembly.aiven import (
    DEFAULT_URL,
    complete_settings,
    insist_on_usable,
    open_directory,
)
from kafka_pg_pipeline.assembly.doctor import Check, Verdict
from kafka_pg_pipeline.domain.service_health import (
    ServiceHealth,
    count_connections,
    describe_update,
    has_room_for,
    judge_service,
)
from kafka_pg_pipeline.domain.services import Service, ServiceState
from kafka_pg_pipeline.errors import PipelineError
from kafka_pg_pipeline.ports import ServiceDirectory
from kafka_pg_pipeline.settings.models import AivenSettings

# A doctor is waited for by somebody.
_PATIENCE_SECONDS = 20.0


def examine_aiven(
    settings: AivenSettings,
    environment: Mapping[str, str],
    streams: int,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> Iterator[Check]:
    """Token and project, the CA, then each service; nothing where no project is named."""
    if not settings.project:
        return
    started = time.monotonic()
    try:
        url = complete_settings(settings, environment).api_url or DEFAULT_URL
        directory = open_directory(settings, environment, patience_seconds=_PATIENCE_SECONDS)
    except PipelineError as error:
        yield Check("Aiven", Verdict.FAILED, str(error))
        return
    with closing(directory):
        try:
            directory.check_project()
        except PipelineError as error:
            yield Check("Aiven", Verdict.FAILED, str(error))
            return
        took = (time.monotonic() - started) * 1000
        finding = f"{url}: the token is valid, project {settings.project}, {took:.0f} ms"
        yield Check("Aiven", Verdict.OK, finding)
        yield _examine_ca(directory)
        for name in filter(None, (settings.kafka_service, settings.postgres_service)):
            yield from _examine_service(directory, name, settings, streams, now())


def judge(service: Service, settings: AivenSettings, now: datetime) -> ServiceHealth:
    """How a service is, with the certificate of the user that the settings choose."""
    uses_certificate = service.is_kafka and settings.kafka_authentication == "certificate"
    user = service.find_user(settings.kafka_user) if uses_certificate else None
    return judge_service(service, user, now)


def _examine_ca(directory: ServiceDirectory) -> Check:
    try:
        directory.fetch_ca()
    except PipelineError as error:
        return Check("Aiven CA", Verdict.FAILED, str(error))
    return Check("Aiven CA", Verdict.OK, "the project's CA is known")


def _examine_service(
    directory: ServiceDirectory, name: str, settings: AivenSettings, streams: int, now: datetime
) -> Iterator[Check]:
    subject = f"Aiven service {name}"
    try:
        service = directory.fetch_service(name)
        insist_on_usable(service, settings.project)
    except PipelineError as error:
        yield Check(subject, Verdict.FAILED, str(error))
        return
    health = judge(service, settings, now)
    yield _judge_state(subject, service)
    if health.certificate_days is not None:
        yield _judge_certificate(f"certificate of {name}", health)
    for number in range(health.updates):
        yield Check(
            f"maintenance of {name}",
            Verdict.WARNING,
            describe_update(service, number),
            "loads go on by themselves after it; to choose the hour, start it in the console, or "
            f"with `avn service maintenance-start {name}`",
        )
    if service.is_postgres and service.max_connections is not None:
        yield _judge_limits(f"limits of {name}", service, streams)


def _judge_state(subject: str, service: Service) -> Check:
    finding = f"{service.type} {service.version}, {service.plan} in {service.cloud}, "
    if service.state is ServiceState.REBALANCING:
        cure = "it serves, and may be slower for a while: wait"
        return Check(subject, Verdict.WARNING, f"{finding}REBALANCING", cure)
    return Check(subject, Verdict.OK, f"{finding}{service.state_word}")


def _judge_certificate(subject: str, health: ServiceHealth) -> Check:
    days = health.certificate_days or 0
    cure = (
        "Aiven renews it by itself about three months before; where it did not, reset the user's "
        "credentials in the console. Each run takes the newest"
    )
    if days < 0:
        return Check(subject, Verdict.FAILED, f"it ended {-days} days ago", cure)
    if health.certificate_ends_soon:
        return Check(subject, Verdict.WARNING, f"it ends in {days} days", cure)
    return Check(subject, Verdict.OK, f"it ends in {days} days")


def _judge_limits(subject: str, service: Service, streams: int) -> Check:
    finding = (
        f"{service.max_connections} connections; all streams loaded at once take "
        f"{count_connections(streams)}"
    )
    if has_room_for(service, streams):
        return Check(subject, Verdict.OK, finding)
    cure = (
        "name a pool in aiven.postgres_pool, take a larger plan, or limit the runs at once in "
        "dagster.yaml (run_queue)"
    )
    return Check(subject, Verdict.WARNING, finding, cure)
