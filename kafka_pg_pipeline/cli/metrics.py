"""``kafka-pg metrics``: the streams' numbers for Prometheus."""

import signal
from functools import partial
from types import ModuleType
from typing import Any

import click

from kafka_pg_pipeline.assembly.measure import Meter
from kafka_pg_pipeline.cli.arguments import streams_argument
from kafka_pg_pipeline.cli.configuration import open_pipeline
from kafka_pg_pipeline.cli.failures import INTERRUPTED, SUCCESS
from kafka_pg_pipeline.cli.invocation import Invocation, shared_options
from kafka_pg_pipeline.cli.output import note
from kafka_pg_pipeline.cli.stopping import StopRequest
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.extras import import_extra

_GLANCE_SECONDS = 3600.0
_LARGEST_PORT = 65535


@click.command(name="metrics")
@streams_argument
@click.option(
    "--listen",
    default="127.0.0.1:9187",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to answer scrapes; nothing there asks for a password.",
)
@click.option("--once", is_flag=True, help="Print the metrics once instead, and end.")
@shared_options
@click.pass_obj
def metrics_command(
    invocation: Invocation, streams: tuple[str, ...], *, listen: str, once: bool
) -> int:
    """Answer Prometheus' scrapes with each stream's lag, position, dead letters and totals.

    Looks at Kafka and at the ledger on each scrape and changes nothing, so it does not matter who
    runs the loads. SIGTERM ends it. Needs the extra `metrics`.
    """
    address = _parse_address(listen)
    exposition = _import("kafka_pg_pipeline.cli.exposition")
    prometheus = _import("prometheus_client")
    pipeline = open_pipeline(invocation)
    registry = exposition.build_registry(Meter(pipeline.endpoints, pipeline.select(streams)))
    if once:
        click.echo(prometheus.generate_latest(registry).decode(), nl=False)
        return SUCCESS
    stop = StopRequest(lambda _: None)
    with stop.listening():
        server, thread = _serve(prometheus, registry, address)
        note(f"metrics: http://{address[0]}:{server.server_port}/metrics until SIGTERM")
        while not stop.wait(_GLANCE_SECONDS):
            pass
        server.shutdown()
        server.server_close()
        thread.join()
    return SUCCESS if stop.by is signal.SIGTERM else INTERRUPTED


_import = partial(import_extra, extra="metrics", needed_by="this command")


def _parse_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) <= _LARGEST_PORT):
        raise click.BadParameter(f"{text!r} is not HOST:PORT", param_hint="'--listen'")
    return host.strip("[]"), int(port)


def _serve(prometheus: ModuleType, registry: object, address: tuple[str, int]) -> tuple[Any, Any]:
    host, port = address
    try:
        server, thread = prometheus.start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror}; name another address in --listen"
        ) from None
    return server, thread
