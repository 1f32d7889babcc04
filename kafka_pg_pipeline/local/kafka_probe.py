"""Asks a broker for its metadata, in the few bytes that takes.

A client library would retry, back off and log by itself while the broker starts; and
kafka-python's ``describe_cluster`` fails on brokers older than 3.7.
"""

import socket
import struct

_METADATA_KEY = 3
_METADATA_VERSION = 7  # Kafka 2.1 and newer


def count_brokers(host: str, port: int, *, timeout_seconds: float = 5) -> int:
    """Return how many live brokers the cluster has; 0 when the broker gives no answer yet."""
    client = b"kafka-pg-probe"
    body = struct.pack(">hhih", _METADATA_KEY, _METADATA_VERSION, 1, len(client)) + client
    body += struct.pack(">ib", 0, 0)  # no topics, create none
    try:
        with socket.create_connection((host, port), timeout=timeout_seconds) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            size, _correlation, _throttle, brokers = struct.unpack(">iiii", _read(connection, 16))
    except (OSError, EOFError):
        return 0
    return int(brokers) if size >= 12 else 0


def _read(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return data
