"""``kafka-pg dev``: the Dagster UI and daemon on this machine, with schedule and sensor ready."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping

import click
import psutil

from kafka_pg_pipeline.cli.configuration import open_pipeline, read_configuration
from kafka_pg_pipeline.cli.failures import FAILED, INTERRUPTED, SUCCESS
from kafka_pg_pipeline.cli.invocation import Invocation, shared_options
from kafka_pg_pipeline.cli.local_servers import (
    build_environment,
    ensure_dagster_home,
    ensure_servers,
)
from kafka_pg_pipeline.cli.output import Steps, print_line
from kafka_pg_pipeline.errors import PipelineError
from kafka_pg_pipeline.local.ports import LOOPBACK, is_free, pick_free

_USUAL_PORT = 3000
_STOP_SECONDS = 20.0
_GLANCE_SECONDS = 0.2


@click.command(name="dev")
@click.option(
    "-p",
    "--port",
    type=click.IntRange(1, 65535),
    help="Port of the UI; 3000 by default, or a free one where that is taken.",
)
@shared_options
@click.pass_obj
def dev_command(invocation: Invocation, port: int | None) -> int:
    """Run the Dagster UI and daemon, with schedule and sensor ready.

    Starts the local servers where no others are named. Dagster's data lies beside them, or in
    DAGSTER_HOME. Ctrl-C ends everything but the local servers.
    """
    tell = Steps()
    loaded = read_configuration(invocation)
    chosen = choose_port(port)
    ensure_servers(loaded, tell)
    open_pipeline(invocation)
    home = ensure_dagster_home()
    environment = {**build_environment(loaded, home), "KAFKA_PG_START_SENSORS": "1"}
    tell("starting the Dagster UI and daemon")
    return run_dagster(chosen, environment, debug=invocation.debug)


def choose_port(wanted: int | None) -> int:
    """The port asked for, else the usual one, else a free one.

    Raises:
        PipelineError: the port asked for is taken.

    """
    if wanted is not None:
        if not is_free(wanted):
            raise PipelineError(
                f"port {wanted} is taken: end the program that listens there, or choose another "
                "--port"
            )
        return wanted
    return _USUAL_PORT if is_free(_USUAL_PORT) else pick_free()


def run_dagster(port: int, environment: Mapping[str, str], *, debug: bool) -> int:
    """Run Dagster until it ends or a signal arrives; leaves none of its processes behind."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "dagster", "dev"),
            *("-m", "kafka_pg_pipeline.definitions"),
            *("-h", LOOPBACK, "-p", str(port)),
            *("--log-level", "debug" if debug else "warning"),
        ],
        env=dict(environment),
        start_new_session=True,  # Ctrl-C reaches us alone, and we end the rest in order
    )
    asked = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: asked.set())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    threading.Thread(target=_announce, args=(process, port), daemon=True).start()
    try:
        while process.poll() is None and not asked.is_set():
            asked.wait(_GLANCE_SECONDS)
    finally:
        end_family(process)
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked.is_set():
        print_line("ended; the local servers go on, `kafka-pg local down` stops them")
        return INTERRUPTED
    return SUCCESS if process.returncode == 0 else FAILED


def end_family(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it started: in order where it can be, else by force."""
    family = _list_family(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    family += [member for member in _list_family(process.pid) if member not in family]
    left = [member for member in family if member.is_running()]
    for member in left:
        with contextlib.suppress(psutil.Error):
            member.terminate()
    _, alive = psutil.wait_procs(left, timeout=5)
    for member in alive:
        with contextlib.suppress(psutil.Error):
            member.kill()
    if process.poll() is None:
        process.wait(_STOP_SECONDS)


def _list_family(pid: int) -> list[psutil.Process]:
    """All processes of the session that ``pid`` leads, those whose parent is gone included."""
    found = []
    for member in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(member.pid) == pid:
                found.append(member)
    return found


def _announce(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Say where the UI is as soon as it answers."""
    url = f"http://{LOOPBACK}:{port}"
    while process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/server_info", timeout=2):  # noqa: S310 - our own address
            print_line(f"the Dagster UI: {url}   (Ctrl-C ends it)", style="bold")
            return
        time.sleep(_GLANCE_SECONDS)
