"""How a table follows its records: which columns are added, which get a wider type, and when not.

Columns that are added may hold NULL and have no default, so that no row is rewritten. A wider type
keeps every value as it is.
"""

from collections.abc import Iterable, Mapping

from kafka_pg_pipeline.domain.policies import Evolution
from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.tables import Column, TargetTable
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.errors import TargetError
from kafka_pg_pipeline.pipeline.infer import choose_wider, column_of_field, gather_fields
from kafka_pg_pipeline.pipeline.mapping import FieldMapping
from kafka_pg_pipeline.ports import TargetEvolution

# Keys that are data would make a column each, and PostgreSQL's tables end at 1,600.
MOST_ADDED = 100


class TableEvolution:
    """The evolution of one table during one run.

    ``changes`` are the statements that were executed, in their order. Without a port nothing is
    ever changed.
    """

    def __init__(
        self,
        policy: Evolution = Evolution.FREEZE,
        mapping: FieldMapping | None = None,
        port: TargetEvolution | None = None,
    ) -> None:
        self.policy = policy
        self.changes: list[str] = []
        self._mapping = mapping or FieldMapping()
        self._port = port
        self._left: set[str] = set()
        self._colliding: set[str] = set()
        self._added = 0

    def leaves(self, field: str) -> bool:
        """Whether a new field gets no column, and is no reason to reject a record either."""
        return self.policy is Evolution.FREEZE or field in self._left

    def give_up(self, fields: Iterable[str]) -> None:
        """Leave fields for which the table took no column, as where a generated one has the name.

        Fields that collide with others are no such case.
        """
        self._left |= set(fields) - self._colliding

    def check(self, field: str, column: str) -> None:
        """Look whether a record may have that new field.

        Raises:
            Rejected: it may not.
        """
        if self.policy is Evolution.STRICT:
            raise Rejected(Stage.ENCODE, Reason.NEW_FIELD, column)
        if field in self._colliding:
            raise Rejected(Stage.ENCODE, Reason.NAME_COLLISION, column)

    def add(
        self,
        target: TargetTable,
        new: Mapping[str, set[str]],
        names: Mapping[str, str],
        beside: Iterable[str],
        known: Mapping[str, str],
    ) -> TargetTable:
        """The table with columns for new fields, as far as these do not collide.

        Args:
            target: The table as it is.
            new: What is known of the new fields' types.
            names: The columns' names, by field.
            beside: All the fields of the records at hand, in the order in which they came.
            known: PostgreSQL types by field, where the records' own schema tells them.

        Raises:
            TargetError: there would be too many, or the table does not take them.
            ContentionError, PostgresUnavailableError: not now.
        """
        taken = {column.name.lower() for column in target.columns}
        folded: dict[str, str] = {}
        for field in beside:
            folded.setdefault(field.lower(), field)
        columns = []
        for field, kinds in new.items():
            name = names[field]
            if name.lower() in taken or folded[field.lower()] != field:
                self._colliding.add(field)
                continue
            taken.add(name.lower())
            columns.append(column_of_field(field, name, kinds, self._mapping, known))
        if not columns or self._port is None:
            return target
        self._added += len(columns)
        if self._added > MOST_ADDED:
            raise TargetError(
                f"the records of this run have more than {MOST_ADDED} fields that {target.name} "
                "has no column for: are data used as names? Set the stream's `evolution: freeze` "
                "and a `rest` column for them, or name what you want under `select`"
            )
        evolved = self._port.add_columns(columns)
        self.changes += evolved.statements
        return evolved.target

    def widen(self, column: Column, documents: Iterable[bytes | None]) -> TargetTable | None:
        """The table with a type of that column that takes the values at hand; None for no change.

        Raises:
            TargetError: the table does not take it.
            ContentionError, PostgresUnavailableError: not now.
        """
        if self.policy is not Evolution.WIDEN or self._port is None:
            return None
        kinds = gather_fields(documents).get(column.field or "", set())
        type_name = choose_wider(column, kinds)
        if type_name is None:
            return None
        evolved = self._port.widen_column(column.name, type_name)
        self.changes += evolved.statements
        return evolved.target
