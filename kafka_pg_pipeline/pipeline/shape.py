"""What the file says of how a stream's records become rows, ready for its encoder."""

from collections.abc import Callable
from dataclasses import dataclass, field

from kafka_pg_pipeline.domain.modes import APPEND, WriteMode
from kafka_pg_pipeline.domain.records import Record
from kafka_pg_pipeline.pipeline.evolve import TableEvolution
from kafka_pg_pipeline.pipeline.mapping import FieldMapping
from kafka_pg_pipeline.pipeline.prepare import Preparation, preparation_of
from kafka_pg_pipeline.ports import Decoders, TargetEvolution
from kafka_pg_pipeline.settings.models import StreamSettings


@dataclass(frozen=True)
class RowShape:
    """How records become rows; its evolution counts what it changed, so that a run has one each.

    ``foreign`` is what to say if none of the first fields has a column, where that is wrong.
    ``select`` tells which records are meant at all; without it, all of them.
    """

    mapping: FieldMapping = field(default_factory=FieldMapping)
    evolution: TableEvolution = field(default_factory=TableEvolution)
    preparation: Preparation = field(default_factory=Preparation)
    mode: WriteMode = APPEND
    decoders: Decoders = field(default_factory=Decoders)
    foreign: str | None = None
    select: Callable[[Record], bool] | None = None


def shape_of(stream: StreamSettings, port: TargetEvolution | None, decoders: Decoders) -> RowShape:
    """The shape of a stream's rows, for one run; without a port no table is changed.

    Raises:
        ConfigurationError: there is no such function as `transform` names.
    """
    mapping = FieldMapping.of(stream)
    return RowShape(
        mapping=mapping,
        evolution=TableEvolution(stream.evolution, mapping, port),
        preparation=preparation_of(stream),
        mode=stream.write_mode,
        decoders=decoders,
    )
