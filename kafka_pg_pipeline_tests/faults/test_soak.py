"""A stream under continuous load while loaders and PostgreSQL are killed, frozen and cut at random.

``--soak-seconds`` says how long. The seed of the faults is in the log; what they meet is not
repeatable, since processes race.
"""

import json
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from confluent_kafka import Producer

from kafka_pg_pipeline.local.postgres_server import PostgresServer
from kafka_pg_pipeline.settings.models import BatchSettings, KafkaSettings
from kafka_pg_pipeline_tests.faults.conftest import KEYED, PLAIN, STAGED, UPSERT, MakeLoaders
from kafka_pg_pipeline_tests.faults.loaders import Loader, Loaders
from kafka_pg_pipeline_tests.fix_servers import postgres_settings
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker

# A soak may be asked to last; every wait within it has a limit of its own.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]

logger = logging.getLogger(__name__)

COMPETITORS = 3
RECORDS_PER_SECOND = 1000
FAILPOINTS = [
    "after_read",
    "before_copy",
    "in_copy",
    "after_copy",
    "after_landing",
    "before_commit",
    "after_commit",
]
# Words of failures that no fault here may cause: they mean that a promise was broken.
ALARMS = ["should not happen", "Traceback", "already in", "not the record that was loaded"]


class Source:
    """Produces numbered records until told to end, one in a thousand of them broken."""

    def __init__(self, bench: Bench) -> None:
        self.produced = 0
        self._failures: list[Any] = []
        self._topic = bench.stream.topic
        self._producer = Producer({"bootstrap.servers": bench.bootstrap_servers, "linger.ms": 20})
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._produce)

    def __enter__(self) -> "Source":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        assert self._producer.flush(60) == 0
        assert self._failures == []

    def _produce(self) -> None:
        while not self._over.wait(0.05):
            for _ in range(RECORDS_PER_SECOND // 20):
                value = json.dumps({"id": self.produced}).encode()
                if self.produced % 1000 == 999:
                    value = b"broken " + value
                self._producer.produce(
                    self._topic,
                    value,
                    partition=self.produced % 3,
                    on_delivery=lambda error, _: self._failures.append(error) if error else None,
                )
                self.produced += 1
            self._producer.poll(0)


class Chaos:
    """Keeps loaders competing, and breaks something every now and then."""

    def __init__(
        self, bench: Bench, loaders: Loaders, server: PostgresServer, random_: random.Random
    ) -> None:
        self.faults: Counter[str] = Counter()
        self._bench = bench
        self._loaders = loaders
        self._server = server
        self._random = random_
        self._running: list[Loader] = []
        self._frozen: dict[int, tuple[Loader, float]] = {}
        self._kinds: list[tuple[Callable[[], None], int]] = [
            (self._kill, 6),
            (self._freeze, 6),
            (self._terminate, 6),
            (lambda: self._restart("fast"), 1),
            (lambda: self._restart("immediate"), 1),
        ]

    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._thaw(time.monotonic())
            self._recruit()
            time.sleep(self._random.uniform(0.1, 1.0))
            actions, weights = zip(*self._kinds, strict=True)
            self._random.choices(actions, weights)[0]()
        self._thaw(float("inf"))

    def end(self) -> None:
        """Kill the loaders in whatever they are doing."""
        for loader in self._running:
            loader.kill()

    def _recruit(self) -> None:
        """Replace those that ended, some by loaders that will kill themselves at a failpoint."""
        for loader in list(self._running):
            if loader.process.poll() is not None:
                self._running.remove(loader)
                self._frozen.pop(loader.process.pid, None)
                self.faults[f"loader ended with {loader.process.returncode}"] += 1
        while len(self._running) < COMPETITORS:
            failpoint = None
            if self._random.random() < 0.5:
                failpoint = f"{self._random.choice(FAILPOINTS)}@{self._random.randint(1, 6)}:kill"
            self._running.append(self._loaders.start(failpoint, "--until", "forever"))

    def _kill(self) -> None:
        loader = self._random.choice(self._running)
        loader.kill()
        self.faults["kill"] += 1

    def _freeze(self) -> None:
        loader = self._random.choice(self._running)
        if loader.process.poll() is None and loader.process.pid not in self._frozen:
            loader.freeze()
            # Some sleep past the idle timeout and are evicted.
            seconds = self._random.choice([0.2, 1.0, 3.0, 12.0])
            self._frozen[loader.process.pid] = (loader, time.monotonic() + seconds)
            self.faults["freeze"] += 1

    def _thaw(self, now: float) -> None:
        for pid, (loader, until) in list(self._frozen.items()):
            if until <= now:
                loader.thaw()
                del self._frozen[pid]

    def _terminate(self) -> None:
        ended = self._bench.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE %s AND random() < 0.5",
            f"%{self._bench.name}%",
        )
        self.faults["backend terminated"] += len(ended)

    def _restart(self, mode: Any) -> None:
        self._server.restart(mode)
        self.faults[f"restart {mode}"] += 1


@pytest.mark.parametrize(
    ("table", "mode"),
    [(PLAIN, {}), (STAGED, {}), (KEYED, UPSERT)],
    ids=["plain", "staged", "merged"],
)
def test_every_record_lands_once_whatever_breaks(
    kafka: KafkaSettings,
    frail_postgres: PostgresServer,
    bench_maker: BenchMaker,
    make_loaders: MakeLoaders,
    pytestconfig: pytest.Config,
    record_property: Callable[[str, object], None],
    table: str,
    mode: Mapping[str, Any],
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    logger.info("seed %d", seed)
    bench = bench_maker.make(
        kafka,
        postgres_settings(frail_postgres, commit_timeout_seconds=2.0, lock_timeout_seconds=2.0),
        batch=BatchSettings(max_rows=200, max_seconds=0.5),
        **mode,
    )
    bench.create_topic()
    bench.query(table)
    loaders = make_loaders(bench)
    chaos = Chaos(bench, loaders, frail_postgres, random.Random(seed))
    # Each write path gets a third of the time.
    seconds = pytestconfig.getoption("--soak-seconds") / 3
    with Source(bench) as source:
        chaos.run(seconds)
    before_the_end = bench.count()
    chaos.end()
    report = loaders.load()
    numbers = {
        "seed": seed,
        "records": source.produced,
        "landed_under_fire": before_the_end,
        "batches": bench.query("SELECT count(DISTINCT batch_id) FROM {schema}.ledger")[0][0],
        "loaders": len(loaders.started),
        "loaders_that_committed": bench.query("SELECT count(DISTINCT loader) FROM {schema}.ledger")[
            0
        ][0],
        **chaos.faults,
    }
    logger.info("%s", numbers)
    record_property("soak", json.dumps(numbers))
    assert report["lag_after"] == 0
    assert before_the_end > 0, "nothing was loaded while things broke"
    assert numbers["loaders_that_committed"] > 1
    assert len(bench.read_all()) == source.produced
    bench.assert_exactly_once()
    for loader in loaders.started:
        for alarm in ALARMS:
            assert alarm not in loader.said()
