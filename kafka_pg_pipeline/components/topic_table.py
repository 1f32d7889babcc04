"""The component ``TopicTableComponent``: a ``defs.yaml`` in place of a configuration file."""

import os
from pathlib import Path

import dagster as dg
from pydantic import BaseModel, ConfigDict
from typing_extensions import Self

from kafka_pg_pipeline.orchestration.location import build_definitions
from kafka_pg_pipeline.settings.file import LoadedSettings, load_attributes

_FILE = "defs.yaml"


class TopicTableAttributes(BaseModel):
    """The sections of a configuration file; what they say is checked where they are read."""

    model_config = ConfigDict(extra="allow")


class TopicTableComponent(dg.Component):
    """Kafka topics as tables in PostgreSQL, each record exactly once.

    ``attributes`` of its ``defs.yaml`` are what a pipeline.yaml holds: ``streams``, and ``kafka``,
    ``postgres`` and the others as they are needed. A project has one of it.
    """

    def __init__(self, loaded: LoadedSettings) -> None:
        self.loaded = loaded

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Whatever stands there: our own reading names line, key and what is allowed."""
        return TopicTableAttributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:  # noqa: ARG003 - read from the file, with its lines
        """Read the component's ``defs.yaml``.

        Raises:
            ConfigurationError: all that is wrong with it, a line each.
        """
        path = Path(context.path)
        return cls(load_attributes(path if path.is_file() else path / _FILE, os.environ))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - all is known
        """The definitions that ``kafka_pg_pipeline.definitions`` has, of these streams."""
        return build_definitions(self.loaded)
