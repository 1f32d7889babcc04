"""Finds out why no broker answers, in the terms of somebody who can mend it."""

import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any

DIAGNOSIS_SECONDS = 2.0


def describe_reachability(options: Mapping[str, Any]) -> str:
    """What a plain connection to each bootstrap server meets, with the cure.

    Ends within about ``DIAGNOSIS_SECONDS``, unless the resolver of host names hangs.
    """
    give_up_at = time.monotonic() + DIAGNOSIS_SECONDS
    found: dict[str, list[str]] = {}
    for server in options["bootstrap_servers"]:
        remaining = give_up_at - time.monotonic()
        if remaining > 0:
            found.setdefault(_probe(server, options, remaining), []).append(server)
    return "; ".join(f"{', '.join(servers)} {finding}" for finding, servers in found.items())


def _probe(server: str, options: Mapping[str, Any], timeout_seconds: float) -> str:
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    try:
        with socket.create_connection((host, int(port)), timeout=timeout_seconds) as connection:
            return _probe_protocol(connection, host, options)
    except socket.gaierror:
        return "has an unknown host name: correct kafka.bootstrap_servers"
    except ConnectionRefusedError:
        return "refuses connections: start the broker, or correct kafka.bootstrap_servers"
    except TimeoutError:
        return "does not accept connections in time: check the network and its firewalls"
    except OSError as error:
        return f"cannot be reached ({error.strerror or type(error).__name__}): check the network"


def _probe_protocol(connection: socket.socket, host: str, options: Mapping[str, Any]) -> str:
    protocol = options["security_protocol"]
    context = options.get("ssl_context")
    if context is None:
        return (
            "accepts connections but gives no Kafka answer: the broker hangs or is starting, or "
            f"kafka.security_protocol {protocol} does not fit its listener"
        )
    try:
        with context.wrap_socket(connection, server_hostname=host):
            return (
                "accepts TLS but gives no Kafka answer: the broker hangs, is starting, or does not "
                "take our certificate"
            )
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message
        return f"shows a certificate that is not trusted ({reason}): set kafka.ssl_cafile"
    except (ssl.SSLError, OSError):
        return (
            f"does not complete a TLS handshake: kafka.security_protocol {protocol} may not fit, "
            "or it does not take our certificate"
        )
