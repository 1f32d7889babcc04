"""The port ServiceDirectory on Aiven's API: one project and its services."""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kafka_pg_pipeline.adapters.aiven.client import AivenApi, explained
from kafka_pg_pipeline.adapters.aiven.failures import Purpose, RefusedError
from kafka_pg_pipeline.adapters.aiven.parsing import (
    insist_on_secret,
    is_redacted,
    parse_service,
    parse_topics,
    parse_user,
)
from kafka_pg_pipeline.domain.services import AccessRule, Service, ServiceTopic, ServiceUser
from kafka_pg_pipeline.errors import (
    AivenUnavailableError,
    ConfigurationError,
    PipelineError,
)

_READ = "project:services:read"
_USERS = "service:users:write"
_DATA = "service:data:write"
_CONFIGURATION = "service:configuration:write"
_WITH_SECRETS = {"include_secrets": "true"}


class AivenDirectory:
    """What Aiven's API tells of one project.

    ``cafile`` is the project's CA where the token may not read it. The owner closes ``api``.
    """

    def __init__(self, api: AivenApi, project: str, *, cafile: Path | None = None) -> None:
        self.project = project
        self._api = api
        self._cafile = cafile

    def check_project(self) -> None:
        """See ServiceDirectory."""
        purpose = Purpose(f"look up the Aiven project {self.project!r}", _READ)
        try:
            self._api.get("project", self.project, key="project", purpose=purpose)
        except RefusedError as error:
            if error.refusal.status in (404, 410):
                # The call is deprecated; the list of services is a proof as good.
                self.fetch_services()
                return
            raise self._explain(error, purpose) from None

    def fetch_services(self) -> tuple[Service, ...]:
        """See ServiceDirectory."""
        purpose = Purpose(f"list the services of the Aiven project {self.project!r}", _READ)
        try:
            raw = self._api.get("project", self.project, "service", key="services", purpose=purpose)
        except RefusedError as error:
            raise self._explain(error, purpose) from None
        found = map(parse_service, raw if isinstance(raw, list) else [])
        return tuple(service for service in found if service is not None)

    def fetch_service(self, name: str) -> Service:
        """See ServiceDirectory."""
        purpose = Purpose(f"look up the Aiven service {self._spell(name)}", _READ)
        try:
            raw = self._api.get(*self._path(name), key="service", purpose=purpose, **_WITH_SECRETS)
        except RefusedError as error:
            if error.refusal.status == 404:
                raise self._explain_missing_service(error, purpose, name) from None
            raise self._explain(error, purpose) from None
        service = parse_service(raw)
        if service is None:
            raise AivenUnavailableError(
                f"could not {purpose.what}: the API's answer holds no service; try again"
            )
        return service

    def fetch_user(self, service: str, name: str) -> ServiceUser:
        """See ServiceDirectory."""
        purpose = Purpose(
            f"look up the user {name!r} of the Aiven service {self._spell(service)}", _USERS
        )
        try:
            raw = self._api.get(
                *self._path(service), "user", name, key="user", purpose=purpose, **_WITH_SECRETS
            )
        except RefusedError as error:
            raise explained(error, purpose) from None
        return parse_user(raw if isinstance(raw, dict) else {})

    def fetch_ca(self) -> str:
        """See ServiceDirectory."""
        if self._cafile is not None:
            return self._read_cafile(self._cafile)
        purpose = Purpose(
            f"read the CA of the Aiven project {self.project!r}",
            "projects:read",
            "or download the CA from the service's page in the console, and name its file in "
            "aiven.project_cafile or AIVEN_PROJECT_CA_PATH",
        )
        try:
            found = self._api.get(
                "project", self.project, "kms", "ca", key="certificate", purpose=purpose
            )
        except RefusedError as error:
            raise explained(error, purpose) from None
        return _insist_on_pem(found, f"could not {purpose.what}: the API's answer is no PEM text")

    def fetch_topics(self, service: str) -> tuple[ServiceTopic, ...]:
        """See ServiceDirectory."""
        purpose = Purpose(f"list the topics of the Aiven service {self._spell(service)}", _DATA)
        try:
            raw = self._api.get(*self._path(service), "topic", key="topics", purpose=purpose)
        except RefusedError as error:
            raise explained(error, purpose) from None
        return parse_topics(raw)

    def create_topic(self, service: str, topic: str, *, partitions: int, replication: int) -> None:
        """See ServiceDirectory."""
        self._create(
            (service, "topic"),
            {"topic_name": topic, "partitions": partitions, "replication": replication},
            Purpose(
                f"create the topic {topic!r} in the Aiven service {self._spell(service)}", _DATA
            ),
        )

    def create_database(self, service: str, database: str) -> None:
        """See ServiceDirectory."""
        self._create(
            (service, "db"),
            {"database": database},
            Purpose(
                f"create the database {database!r} in the Aiven service {self._spell(service)}",
                _CONFIGURATION,
            ),
        )

    def create_user(self, service: str, user: str) -> None:
        """See ServiceDirectory."""
        self._create(
            (service, "user"),
            {"username": user},
            Purpose(
                f"create the user {user!r} in the Aiven service {self._spell(service)}", _USERS
            ),
        )

    def create_access_rule(self, service: str, rule: AccessRule) -> None:
        """See ServiceDirectory."""
        self._create(
            (service, "acl"),
            {"username": rule.user, "topic": rule.topic, "permission": rule.permission},
            Purpose(
                f"let {rule.user!r} {rule.permission} {rule.topic!r} in the Aiven service "
                f"{self._spell(service)}",
                _CONFIGURATION,
            ),
        )

    def close(self) -> None:
        """Release connections; safe to call twice."""
        self._api.close()

    def _create(self, tail: tuple[str, ...], body: Mapping[str, Any], purpose: Purpose) -> None:
        service, *rest = tail
        try:
            self._api.post(*self._path(service), *rest, body=body, purpose=purpose)
        except RefusedError as error:
            # Somebody else was faster: what was asked for is there.
            if error.refusal.status != 409:
                raise explained(error, purpose) from None

    def _path(self, service: str) -> tuple[str, ...]:
        return ("project", self.project, "service", service)

    def _spell(self, service: str) -> str:
        return f"{self.project}/{service}"

    def _explain(self, error: RefusedError, purpose: Purpose) -> PipelineError:
        """A refusal that may mean a wrong project: name those that the token sees."""
        failure = explained(error, purpose)
        if error.refusal.status not in (403, 404, 410):
            return failure
        names = self._find_projects()
        if self.project in names or not names:
            return failure
        hint = _name_near(self.project, names, "the token sees the projects")
        return type(failure)(f"{failure}; {hint}")

    def _explain_missing_service(
        self, error: RefusedError, purpose: Purpose, name: str
    ) -> PipelineError:
        try:
            names = [service.name for service in self.fetch_services()]
        except PipelineError:
            names = []
        if not names:
            return self._explain(error, purpose)
        hint = _name_near(name, names, "the project has")
        return ConfigurationError(
            f"there is no service {name!r} in the Aiven project {self.project!r}: {hint}"
        )

    def _find_projects(self) -> list[str]:
        purpose = Purpose("list the projects of the token")
        try:
            raw = self._api.get("project", key="projects", purpose=purpose)
        except (RefusedError, PipelineError):
            return []
        found = raw if isinstance(raw, list) else []
        names = [item.get("project_name") for item in found if isinstance(item, dict)]
        return [name for name in names if isinstance(name, str)]

    def _read_cafile(self, path: Path) -> str:
        try:
            text = path.read_text("ascii")
        except (OSError, UnicodeDecodeError):
            text = ""
        return _insist_on_pem(
            text,
            f"aiven.project_cafile, or AIVEN_PROJECT_CA_PATH: {path} cannot be read, or is no PEM "
            "file",
        )


def _insist_on_pem(value: Any, otherwise: str) -> str:
    if isinstance(value, str) and "-----BEGIN CERTIFICATE-----" in value:
        return value
    if isinstance(value, str) and is_redacted(value):
        return insist_on_secret(value, "the project's CA")
    raise ConfigurationError(otherwise)


def _name_near(name: str, names: Iterable[str], all_words: str) -> str:
    known = list(names)
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"{all_words} {', '.join(map(repr, known[:20]))}"
