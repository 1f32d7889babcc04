"""Kafka's own console and performance producers, as their scripts run them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kafka_pg_pipeline_tests.java import Java

SEPARATOR = "\t"
NULL = "<null>"
_CONSOLE = "org.apache.kafka.tools.ConsoleProducer"
_PERFORMANCE = "org.apache.kafka.tools.ProducerPerformance"


@dataclass(frozen=True)
class JavaClients:
    """Runs one tool after the other; each is gone when its call returns."""

    java: Java
    bootstrap_servers: str
    directory: Path

    def type_values(self, topic: str, values: Sequence[str], *options: str) -> None:
        """Produce values by the console producer, a line each."""
        self._type(topic, values, options)

    def type_records(self, topic: str, records: Sequence[tuple[str, str, str]]) -> None:
        """Produce headers (``name:value,…``), keys and values, ``NULL`` standing for null."""
        lines = [SEPARATOR.join(record) for record in records]
        reader = ("parse.headers=true", "parse.key=true", f"null.marker={NULL}")
        self._type(topic, lines, [f"--reader-property={setting}" for setting in reader])

    def perform(
        self, topic: str, count: int, payloads: Sequence[str], *options: str, **configuration: str
    ) -> None:
        """Produce so many records by the performance tool, each a payload drawn by lot.

        ``configuration`` is the producer's, with ``_`` for the dots.
        """
        path = self.directory / "payloads"
        path.write_text("\n".join(payloads) + "\n", "utf-8")
        given = {"bootstrap.servers": self.bootstrap_servers}
        given |= {name.replace("_", "."): value for name, value in configuration.items()}
        arguments = ["--topic", topic, "--num-records", str(count), "--throughput", "-1"]
        arguments += ["--payload-file", str(path), *options, "--command-property"]
        arguments += [f"{name}={value}" for name, value in given.items()]
        output = self.java.build(_PERFORMANCE, arguments, directory=self.directory).run()
        assert f"{count} records sent" in output, output

    def _type(self, topic: str, lines: Sequence[str], options: Sequence[str]) -> None:
        arguments = ["--bootstrap-server", self.bootstrap_servers, "--topic", topic, *options]
        command = self.java.build(_CONSOLE, arguments, directory=self.directory)
        output = command.run(text="\n".join(lines) + "\n")
        assert "ERROR" not in output, output  # it goes on without what it could not send
