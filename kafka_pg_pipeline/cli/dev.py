"""``kafka-pg dev``: the Dagster UI and daemon on this machine, with schedule and sensor ready."""

import contextlib
import fcntl
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from kafka_pg_pipeline.cli.configuration import open_pipeline, read_configuration
from kafka_pg_pipeline.cli.failures import FAILED, INTERRUPTED, SUCCESS
from kafka_pg_pipeline.cli.invocation import Invocation, shared_options
from kafka_pg_pipeline.cli.local_servers import (
    build_environment,
    ensure_dagster_home,
    ensure_servers,
    write_workspace,
)
from kafka_pg_pipeline.cli.output import Steps, print_line
from kafka_pg_pipeline.errors import PipelineError
from kafka_pg_pipeline.local.ports import LOOPBACK, is_free, pick_free

_USUAL_PORT = 3000
_GLANCE_SECONDS = 0.2
# Topics and their tables; the UI's own first page is empty until something runs.
_FIRST_PAGE = "/asset-groups"


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
    with alone(home, chosen):
        tell("starting the Dagster UI and daemon")
        return run_dagster(chosen, write_workspace(home), environment, debug=invocation.debug)


@contextlib.contextmanager
def alone(home: Path, port: int) -> Iterator[None]:
    """Keep a second UI and daemon from the same data: its daemons would get in each other's way.

    Raises:
        PipelineError: one runs already; naming its address.

    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".kafka_pg_dev").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise PipelineError(
                f"the Dagster UI runs already, at {file.read().strip()}; Ctrl-C in its terminal "
                "ends it"
            ) from None
        file.truncate(0)
        file.write(f"http://{LOOPBACK}:{port}\n")
        file.flush()
        yield


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


def run_dagster(port: int, workspace: Path, environment: Mapping[str, str], *, debug: bool) -> int:
    """Run Dagster until it ends or a signal arrives; leaves none of its processes behind."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "kafka_pg_pipeline.cli.guard"),
            *(sys.executable, "-m", "dagster", "dev"),
            *("-w", str(workspace)),
            *("-h", LOOPBACK, "-p", str(port)),
            *("--log-level", "debug" if debug else "warning"),
        ],
        env=dict(environment),
        stdin=subprocess.PIPE,  # its end, however we die, is the end of them all
        start_new_session=True,  # Ctrl-C reaches us alone
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
        if process.stdin is not None:
            process.stdin.close()
        process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked.is_set():
        print_line("ended; the local servers go on, `kafka-pg local down` stops them")
        return INTERRUPTED
    return SUCCESS if process.returncode == 0 else FAILED


def _announce(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Say where the UI is as soon as it answers."""
    url = f"http://{LOOPBACK}:{port}"
    while process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/server_info", timeout=2):  # noqa: S310 - our own address
            print_line(f"the Dagster UI: {url}{_FIRST_PAGE}   (Ctrl-C ends it)", style="bold")
            return
        time.sleep(_GLANCE_SECONDS)
