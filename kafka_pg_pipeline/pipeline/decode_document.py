"""JSON documents to the columns of a table that may grow on the way.

The decoder beneath knows the fields that were met so far, so that a new one costs nothing until it
is there. Then the documents at hand are looked through once: a field may be another spelling of
one that is known, may go to the rest column or nowhere, or may get a column of its own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from kafka_pg_pipeline.domain.policies import Evolution
from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.tables import Column, Rest, TargetTable, ValueField
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.errors import TargetError
from kafka_pg_pipeline.pipeline.decode_json import UNSET, JsonDecoder, OtherFields, write_rest
from kafka_pg_pipeline.pipeline.evolve import TableEvolution
from kafka_pg_pipeline.pipeline.infer import gather_fields
from kafka_pg_pipeline.pipeline.mapping import Fate, FieldMapping, Place, TableFields

# Names that the fast way is taught; of data that is used for names it cannot learn enough.
_MOST_NAMES = 1_000
# A column may be added, and widened to bigint, numeric and text.
_MOST_CHANGES = 8
_WIDENED = (Reason.OUT_OF_RANGE, Reason.WRONG_TYPE)


class _Unplaced(Exception):  # noqa: N818 - not an error: there is something to learn
    """A document has a field that the table has no column for yet."""


class DocumentDecoder:
    """Decodes documents into the columns of one table, and lets the table evolve.

    ``columns`` are those that the value fills, in the order of what ``decode`` returns; they may
    change with each call. ``untaken`` are the fields met so far that go nowhere for want of a
    column; another thread may look at them. ``foreign`` is what to say if none of the first fields
    has a column. ``fetch_types`` tells PostgreSQL types by field, where the records' schema does.
    """

    def __init__(
        self,
        target: TargetTable,
        mapping: FieldMapping,
        evolution: TableEvolution,
        *,
        foreign: str | None = None,
        fetch_types: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._mapping = mapping
        self._evolution = evolution
        self._foreign = foreign
        self._fetch_types = fetch_types
        self._at_hand: Sequence[bytes | None] = ()
        self._places: dict[str, Place] = {}
        self._unseen = False
        self._adopt(target)

    def decode_block(
        self, documents: Sequence[bytes | None]
    ) -> tuple[tuple[int, ...], Sequence[tuple[Any, ...]]] | None:
        """Many documents at once, as ``JsonDecoder.decode_block`` does."""
        self._at_hand = documents
        block = self._decoder.decode_block(documents)
        if block is not None:
            self._foreign = None
        return block

    def decode(self, document: bytes | None) -> tuple[Any, ...]:
        """The columns of one document, and what it teaches for the next ones.

        Raises:
            Rejected: the document cannot become a row.
            TargetError: the table does not belong to such documents, or cannot be changed.
            ContentionError, PostgresUnavailableError: the table cannot be changed now.
        """
        for _ in range(_MOST_CHANGES):
            try:
                items = self._decoder.decode(document)
            except _Unplaced:
                self._learn(document)
                continue
            except Rejected as verdict:
                if not self._widen(document, verdict):
                    raise
                continue
            if self._unseen:
                self._learn(document)
                continue
            return items
        raise Rejected(Stage.ENCODE, Reason.NEW_FIELD)

    def columns_of(self, fields: Iterable[str]) -> frozenset[str]:
        """The columns that take these fields."""
        places = map(self._place, fields)
        return frozenset(place.column for place in places if place.fate is Fate.TAKEN)

    # -- what is known ---------------------------------------------------------------------------

    def _adopt(self, target: TargetTable) -> None:
        self._target = target
        self._fields = TableFields(self._mapping, target.columns)
        self._expected = dict(self._fields.expected)
        self._places = {name: self._fields.place(name) for name in self._places}
        self._rebuild()

    def _rebuild(self) -> None:
        """Teach the fast way what is known by now."""
        taking = [
            replace(column, source=ValueField(self._expected[column.name]))
            for column in self._target.columns
            if column.name in self._expected
        ]
        rest = [column for column in self._target.columns if isinstance(column.source, Rest)]
        self.columns: tuple[Column, ...] = (*taking, *rest)
        self._taking = tuple(column.name for column in taking)
        self._bound = frozenset(self._expected.values())
        self._unseen = False
        of_fate: dict[Fate, list[str]] = {fate: [] for fate in Fate}
        for name in self._places:
            of_fate[self._place(name).fate].append(name)
        self.untaken = frozenset(() if rest else of_fate[Fate.LEFT])
        passed_over = [] if self._evolution.policy is Evolution.STRICT else of_fate[Fate.NEW]
        self._decoder = JsonDecoder(
            self.columns,
            OtherFields(
                left=tuple(of_fate[Fate.LEFT]),
                dropped=tuple(of_fate[Fate.DROPPED]),
                empty=tuple(passed_over),
                arrange=self._arrange,
            ),
        )

    def _place(self, name: str) -> Place:
        place = self._places.get(name) or self._fields.place(name)
        if place.fate is Fate.NEW and self._evolution.leaves(name):
            return Place(Fate.LEFT)
        return place

    def _arrange(self, fields: Mapping[str, msgspec.Raw]) -> Sequence[Any]:
        """What each column gets of a document's fields, the exact way."""
        taken: dict[str, msgspec.Raw] = {}
        left: dict[str, msgspec.Raw] = {}
        unplaced = False
        for name, raw in fields.items():
            place = self._place(name)
            if place.fate is Fate.TAKEN:
                if place.column in taken:
                    raise Rejected(Stage.ENCODE, Reason.NAME_COLLISION, place.column)
                taken[place.column] = raw
            elif place.fate is Fate.LEFT:
                left[name] = raw
            elif place.fate is Fate.NEW:
                self._evolution.check(name, place.column)
                unplaced = unplaced or bytes(raw) != b"null"
            self._unseen = self._unseen or self._is_unseen(name)
        if unplaced:
            raise _Unplaced
        items: list[Any] = [taken.get(name, UNSET) for name in self._taking]
        if self._fields.has_rest:
            items.append(write_rest(left) if left else UNSET)
        return items

    def _is_unseen(self, name: str) -> bool:
        is_known = name in self._places or name in self._bound
        return not is_known and len(self._places) < _MOST_NAMES

    # -- what is learned -------------------------------------------------------------------------

    def _learn(self, document: bytes | None) -> None:
        seen = gather_fields((document, *self._at_hand))
        self._check_foreign(seen)
        new = {
            name: kinds
            for name, kinds in seen.items()
            if kinds and self._place(name).fate is Fate.NEW
        }
        for name in seen:
            if len(self._places) < _MOST_NAMES:
                self._places[name] = self._fields.place(name)
        if new:
            columns = {name: self._place(name).column for name in new}
            known = self._fetch_types()
            self._adopt(self._evolution.add(self._target, new, columns, seen, known))
            self._evolution.give_up(n for n in new if self._fields.place(n).fate is Fate.NEW)
        self._choose_spellings(seen)
        self._rebuild()

    def _choose_spellings(self, seen: Mapping[str, set[str]]) -> None:
        """Expect a spelling that is there, where the one that was expected is not."""
        for name in seen:
            place = self._place(name)
            if place.fate is Fate.TAKEN and self._expected.get(place.column) not in seen:
                self._expected[place.column] = name

    def _check_foreign(self, seen: Mapping[str, set[str]]) -> None:
        message, self._foreign = self._foreign, None
        if message is None or not seen or not self._expected:
            return
        if all(self._place(name).fate is not Fate.TAKEN for name in seen):
            raise TargetError(message)

    def _widen(self, document: bytes | None, verdict: Rejected) -> bool:
        """Whether the column that a value does not fit has become wider."""
        if verdict.reason not in _WIDENED or verdict.column is None or document is None:
            return False
        column = next((c for c in self.columns if c.name == verdict.column), None)
        if column is None:
            return False
        target = self._evolution.widen(column, (document, *self._at_hand))
        if target is None:
            return False
        expected = self._expected
        self._adopt(target)
        self._expected |= expected
        self._rebuild()
        return True
