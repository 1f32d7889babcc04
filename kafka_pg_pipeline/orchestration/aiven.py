"""Aiven's services as external assets, and a check of each: state, certificate, maintenance."""

from contextlib import closing
from datetime import datetime, timezone
from urllib.parse import quote

import dagster as dg

from kafka_pg_pipeline.assembly.aiven_doctor import judge
from kafka_pg_pipeline.domain.service_health import ServiceHealth
from kafka_pg_pipeline.orchestration.failures import dagster_failures
from kafka_pg_pipeline.resources.aiven import AivenResource
from kafka_pg_pipeline.settings.models import AivenSettings

CHECK_JOB = "check_aiven"
_CONSOLE = "https://console.aiven.io"
_GROUP = "aiven"


def service_key(name: str) -> dg.AssetKey:
    """Asset key of a service."""
    return dg.AssetKey(["aiven", name])


def build_service_specs(settings: AivenSettings) -> list[dg.AssetSpec]:
    """One external asset for each service that the file names."""
    return [
        dg.AssetSpec(
            key=service_key(name),
            description=f"Aiven service {name} of project {settings.project}.",
            group_name=_GROUP,
            kinds={"aiven", kind},
            metadata={"aiven/console": dg.MetadataValue.url(console_url(settings.project, name))},
        )
        for name, kind in _services(settings)
    ]


def build_service_checks(settings: AivenSettings) -> list[dg.AssetChecksDefinition]:
    """A check of each service: failed while it does not serve, else a warning of what comes."""
    return [_build_check(name) for name, _ in _services(settings)]


def build_check_job(checks: list[dg.AssetChecksDefinition]) -> "dg.UnresolvedAssetJobDefinition":
    """The job that checks all services."""
    return dg.define_asset_job(
        name=CHECK_JOB,
        selection=dg.AssetSelection.checks(*checks),
        description="Check the Aiven services: state, certificates, pending mandatory updates.",
        executor_def=dg.in_process_executor,
    )


def build_check_schedule(job: "dg.UnresolvedAssetJobDefinition") -> dg.ScheduleDefinition:
    """Every hour, once somebody turns it on."""
    return dg.ScheduleDefinition(
        name=f"{CHECK_JOB}_schedule",
        target=job,
        cron_schedule="7 * * * *",
        execution_timezone="UTC",
        description="Every hour, whether the Aiven services serve, and what comes.",
    )


def console_url(project: str, service: str) -> str:
    """The page of a service in Aiven's console."""
    return f"{_CONSOLE}/project/{quote(project, safe='')}/services/{quote(service, safe='')}"


def describe_health(project: str, health: ServiceHealth) -> dict[str, dg.MetadataValue]:
    """Metadata of a check; no address, no user and no secret is among them."""
    service = health.service
    metadata: dict[str, dg.MetadataValue] = {
        "aiven/console": dg.MetadataValue.url(console_url(project, service.name)),
        "aiven/state": dg.MetadataValue.text(service.state_word),
        "aiven/plan": dg.MetadataValue.text(service.plan),
        "aiven/version": dg.MetadataValue.text(service.version),
        "aiven/pending_updates": dg.MetadataValue.int(health.updates),
    }
    if health.certificate_days is not None:
        metadata["aiven/certificate_days"] = dg.MetadataValue.int(health.certificate_days)
    if service.max_connections is not None:
        metadata["aiven/max_connections"] = dg.MetadataValue.int(service.max_connections)
    return metadata


def _services(settings: AivenSettings) -> list[tuple[str, str]]:
    pairs = ((settings.kafka_service, "kafka"), (settings.postgres_service, "postgres"))
    return list({name: kind for name, kind in pairs if name}.items())


def _build_check(name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=service_key(name),
        name="serves",
        description="The service runs, its client certificate lasts, no mandatory update waits.",
    )
    def serves(aiven: AivenResource) -> dg.AssetCheckResult:
        settings = aiven.settings()
        with dagster_failures(None), closing(aiven.open_directory()) as directory:
            health = judge(directory.fetch_service(name), settings, datetime.now(timezone.utc))
        is_warning = health.serves
        return dg.AssetCheckResult(
            passed=not health.concerns,
            severity=dg.AssetCheckSeverity.WARN if is_warning else dg.AssetCheckSeverity.ERROR,
            description="; ".join(health.concerns) or "it serves, and nothing comes up",
            metadata=describe_health(settings.project, health),
        )

    return serves
