"""TCP ports of the loopback interface."""

import random
import socket

import psutil

from kafka_pg_pipeline.local.errors import LocalStackError

LOOPBACK = "127.0.0.1"

# Below the range from which systems take the ports of outgoing connections (32768 and up on
# Linux, 49152 and up elsewhere): a client that keeps dialling a stopped server on a port of that
# range can end up connected to itself, and the server cannot have its port back.
_LOWEST, _HIGHEST = 20_000, 32_000
_TRIES = 200


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def pick_free() -> int:
    """Choose a free port that no outgoing connection will take."""
    for _ in range(_TRIES):
        port = random.randint(_LOWEST, _HIGHEST)  # noqa: S311 - no secret
        if is_free(port):
            return port
    raise LocalStackError(f"no free port on {LOOPBACK} between {_LOWEST} and {_HIGHEST}")


def choose(wanted: int, *, remembered: int | None, purpose: str) -> int:
    """Choose a server's port.

    Args:
        wanted: The port asked for, or 0 for any.
        remembered: The port of the last start, taken again when it is free and any will do.
        purpose: What the port is for, for the error message.

    Raises:
        LocalStackError: The wanted port is taken.
    """
    if wanted:
        if not is_free(wanted):
            raise LocalStackError(describe_taken(wanted, purpose=purpose))
        return wanted
    if remembered is not None and is_free(remembered):
        return remembered
    return pick_free()


def describe_taken(port: int, *, purpose: str) -> str:
    """Say who holds a port and what to do."""
    holder = _find_holder(port)
    by = f" by {holder}" if holder else ""
    return (
        f"port {port} of {LOOPBACK}, wanted for {purpose}, is taken{by}; "
        "stop that process, or choose another port (0 takes any free one)"
    )


def _find_holder(port: int) -> str | None:
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return None
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.Error:
                return f"pid {connection.pid}"
    return None
