"""Kafka's form of a random id."""

import base64
import uuid


def build_cluster_id() -> str:
    """Return a new cluster id: 16 random bytes in URL-safe base64, not beginning with a dash."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
