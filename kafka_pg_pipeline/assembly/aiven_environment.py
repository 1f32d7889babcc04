"""What other programs need to reach Aiven's servers: variables, and files of certificates."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import SecretStr

from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.settings.discovered import DiscoveredKafka, DiscoveredPostgres

SECRET_NAMES = ("PGPASSWORD", "TEST_PASSWORD", "KAFKA_SASL_PASSWORD")


def build_environment(endpoints: Endpoints, secrets: Sequence[str]) -> dict[str, str]:
    """Variables by name; of the secrets those that were asked for by their names."""
    kafka, postgres = endpoints.kafka, endpoints.postgres
    passwords = {
        "PGPASSWORD": postgres.password,
        "TEST_PASSWORD": postgres.password,
        "KAFKA_SASL_PASSWORD": kafka.sasl_password,
    }
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_SECURITY_PROTOCOL": kafka.security_protocol,
        "KAFKA_SASL_MECHANISM": kafka.sasl_mechanism,
        "KAFKA_SASL_USERNAME": kafka.sasl_username,
        "PGHOST": postgres.host,
        "PGPORT": str(postgres.port),
        "PGUSER": postgres.user,
        "PGDATABASE": postgres.dbname,
        "PGSSLMODE": postgres.sslmode,
        "TEST_HOST": postgres.host,
        "TEST_PORT": str(postgres.port),
        "TEST_USER": postgres.user,
        "TEST_DB_NAME": postgres.dbname,
        **{name: _reveal(passwords[name]) for name in secrets},
    }
    return {name: value for name, value in variables.items() if value}


def write_certificates(endpoints: Endpoints, directory: Path) -> dict[str, str]:
    """Write PEM files for their owner alone, and return the variables that name them."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    kafka, postgres = endpoints.kafka, endpoints.postgres
    texts: dict[str, tuple[str, str | None]] = {}
    if isinstance(postgres, DiscoveredPostgres):
        texts["PGSSLROOTCERT"] = ("ca.pem", postgres.ca)
    if isinstance(kafka, DiscoveredKafka):
        texts["KAFKA_SSL_CAFILE"] = ("kafka-ca.pem", kafka.ca)
        texts["KAFKA_SSL_CERTFILE"] = ("service.cert", kafka.certificate)
        texts["KAFKA_SSL_KEYFILE"] = ("service.key", _reveal(kafka.key))
    written: dict[str, str] = {}
    for variable, (name, text) in texts.items():
        if text:
            path = directory.absolute() / name
            path.unlink(missing_ok=True)
            path.touch(mode=0o600)
            path.write_text(text, encoding="ascii")
            written[variable] = str(path)
    return written


def _reveal(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret is not None else ""
