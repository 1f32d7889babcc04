"""What the file says of how a stream's records become rows, ready for its encoder."""

from dataclasses import dataclass, field

from kafka_pg_pipeline.domain.modes import APPEND, WriteMode
from kafka_pg_pipeline.domain.policies import InvalidText
from kafka_pg_pipeline.pipeline.evolve import TableEvolution
from kafka_pg_pipeline.pipeline.mapping import FieldMapping
from kafka_pg_pipeline.ports import Decoders, TargetEvolution
from kafka_pg_pipeline.settings.models import StreamSettings


@dataclass(frozen=True)
class RowShape:
    """How records become rows; its evolution counts what it changed, so that a run has one each.

    ``foreign`` is what to say if none of the first fields has a column, where that is wrong.
    """

    mapping: FieldMapping = field(default_factory=FieldMapping)
    evolution: TableEvolution = field(default_factory=TableEvolution)
    invalid_text: InvalidText = InvalidText.DEAD_LETTER
    mode: WriteMode = APPEND
    decoders: Decoders = field(default_factory=Decoders)
    foreign: str | None = None


def shape_of(stream: StreamSettings, port: TargetEvolution, decoders: Decoders) -> RowShape:
    """The shape of a stream's rows, for one run."""
    mapping = FieldMapping.of(stream)
    return RowShape(
        mapping=mapping,
        evolution=TableEvolution(stream.evolution, mapping, port),
        invalid_text=stream.invalid_text,
        mode=stream.write_mode,
        decoders=decoders,
    )
