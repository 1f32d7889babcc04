"""The streams of the file, looked up by name."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.settings.models import StreamSettings

_DEMO = "demo"
# Runs carry it, so that the sensor and the queue's limits know which stream a run loads.
STREAM_TAG = "kafka_pg/stream"


@dataclass(frozen=True)
class Streams:
    """All streams by name."""

    by_name: Mapping[str, StreamSettings]

    def choose(self, name: str | None) -> tuple[str, StreamSettings]:
        """The stream of that name; without a name the demo stream, else the first of the file.

        Raises:
            ConfigurationError: there is no such stream; names the near ones.
        """
        if not self.by_name:
            raise ConfigurationError("the configuration file names no stream")
        if name is None:
            name = _DEMO if _DEMO in self.by_name else next(iter(self.by_name))
        stream = self.by_name.get(name)
        if stream is None:
            near = difflib.get_close_matches(name, self.by_name) or list(self.by_name)
            raise ConfigurationError(f"there is no stream {name!r}; there is {', '.join(near)}")
        return name, stream
