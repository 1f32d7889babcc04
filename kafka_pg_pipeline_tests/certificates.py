"""Certificates of a CA of the tests' own, as texts that Kafka, PostgreSQL and OpenSSL take."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import trustme
from cryptography.hazmat.primitives import serialization

TODAY = datetime.now(timezone.utc).replace(tzinfo=None)
LONG_AGO = TODAY - timedelta(days=30)
YESTERDAY = TODAY - timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key (PKCS8)."""

    certificate: str
    key: str

    @property
    def both(self) -> str:
        return self.key + self.certificate


@dataclass(frozen=True)
class Authority:
    """A CA."""

    ca: trustme.CA = field(default_factory=trustme.CA)

    @property
    def pem(self) -> str:
        return self.ca.cert_pem.bytes().decode()

    def issue(self, *names: str, user: str | None = None, expired: bool = False) -> Pair:
        """A certificate for host names, or for a user."""
        leaf = self.ca.issue_cert(
            *(names or ("client.example",)),
            common_name=user,
            not_before=LONG_AGO if expired else None,
            not_after=YESTERDAY if expired else None,
        )
        key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), password=None)
        text = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        return Pair("".join(blob.bytes().decode() for blob in leaf.cert_chain_pems), text)
