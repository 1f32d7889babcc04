"""Any JSON value against every type: it lands as PostgreSQL itself reads it, or is a dead letter.

The oracle is ``json_populate_record``, asked about the record's own bytes: ``oracle`` says why it
is independent of our encoder, ``kinds`` where our promise is another. Values are encoded and
written by the product, a batch at a time and without Kafka, so that thousands can be tried.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_pg_pipeline.domain.tables import Column
from kafka_pg_pipeline_tests.content.kinds import KINDS, Kind
from kafka_pg_pipeline_tests.content.landing import (
    Dead,
    Fate,
    create_table,
    fates_by_offset,
    record_of,
)
from kafka_pg_pipeline_tests.content.literals import tries
from kafka_pg_pipeline_tests.content.oracle import Ruling, ask_oracle, create_oracle
from kafka_pg_pipeline_tests.content.writing import Writing, open_writing
from kafka_pg_pipeline_tests.encoding import by_record, exactly, in_a_block
from kafka_pg_pipeline_tests.fix_streams import Bench

OUT_OF_RANGE = {"22003", "22008", "22015"}
# A stage has to carry along what these types restrict; the others go through it as text does.
STAGED = [kind for kind in KINDS if kind.type == "text" or set("(.") & set(kind.type)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_any_value_lands_as_postgresql_reads_it_or_is_a_dead_letter(
    bench: Bench, kind: Kind
) -> None:
    prepare(bench, kind)
    assert_any_value_fits(bench, kind, tries(3))


@pytest.mark.parametrize("kind", STAGED, ids=lambda kind: kind.type)
def test_any_value_lands_alike_by_way_of_a_stage(bench: Bench, kind: Kind) -> None:
    prepare(bench, kind, "UNIQUE (beside)")
    assert_any_value_fits(bench, kind, tries(2))


def assert_any_value_fits(bench: Bench, kind: Kind, limits: settings) -> None:
    with open_writing(bench) as writing:

        @limits
        @given(st.lists(kind.literals, min_size=20, max_size=40))
        def holds_for(literals: list[str]) -> None:
            assert_read_alike(writing.value_columns, [*kind.good, *literals])
            assert_fates_fit(bench, kind, writing, [*kind.good, *literals])

        holds_for()
        writing.assert_accounted_for()


def prepare(bench: Bench, kind: Kind, *constraints: str) -> None:
    schema = bench.stream.table.partition(".")[0]
    if kind.made_by:
        bench.query(kind.made_by.replace("own.", f"{schema}."))
    create_table(bench, {"v": kind.type.replace("own.", f"{schema}.")}, *constraints)
    readings = {name: read.replace("own.", f"{schema}.") for name, read in kind.readings.items()}
    create_oracle(bench, readings, kind.shown)


def assert_read_alike(columns: list[Column], literals: list[str]) -> None:
    """In a block of records, by itself, and on the exact way: a value is read the same."""
    for literal in literals:
        record = record_of("v", literal)
        verdict = as_copied(exactly(columns, record))
        assert as_copied(by_record(columns, record)) == verdict
        assert as_copied(in_a_block(columns, record)) in (None, verdict)


def as_copied(items: tuple[Any, ...] | None) -> tuple[str, ...] | None:
    """Items as PostgreSQL reads them: ``True`` is ``true``."""
    spelled = {"True": "true", "False": "false"}
    return items and tuple(spelled.get(str(item), str(item)) for item in items)


def assert_fates_fit(bench: Bench, kind: Kind, writing: Writing, literals: list[str]) -> None:
    """Write each literal behind a good one: what became of it, and that the good ones landed."""
    with_neighbours = list(chain.from_iterable((kind.good[0], literal) for literal in literals))
    records = [record_of("v", literal) for literal in with_neighbours]
    first = writing.write(records)
    fates = fates_by_offset(bench, ["v"], first=first, v=kind.shown)
    assert sorted(fates) == list(range(first, writing.next_offsets[0]))
    rulings = ask_oracle(bench, records)
    assert [
        f"{literal} became {fate}, for PostgreSQL it is {ruling}"
        for (_, fate), literal, ruling in zip(
            sorted(fates.items()), with_neighbours, rulings, strict=True
        )
        if not fits(kind, literal, fate, ruling)
    ] == []


def fits(kind: Kind, literal: str, fate: Fate, ruling: Ruling) -> bool:
    if isinstance(fate, Dead):
        return literal not in kind.good and reason_fits(kind, literal, fate, ruling)
    if holds_what_postgresql_cannot(literal):
        return False
    landed = fate.get("v")
    return ruling == (landed, None) or is_rounded_to_zero(kind, literal, landed)


def reason_fits(kind: Kind, literal: str, dead: Dead, ruling: Ruling) -> bool:
    texts = "".join(texts_of(literal))
    if holds_surrogates(texts):
        return dead == Dead("decode", "lone_surrogate")
    if dead == Dead("encode", "nul_character", "v"):
        return "\0" in texts
    if dead == Dead("encode", "wrong_type", "v"):
        return ruling.refused is not None or kind.stricter(literal)
    if dead == Dead("encode", "out_of_range", "v"):
        return ruling.refused in OUT_OF_RANGE or kind.stricter(literal)
    if dead == Dead("encode", "missing_value", "v"):
        return literal == "null" and ruling.refused == "23502"
    by_postgresql = Dead("write", "rejected_by_postgresql", "v", dead.sqlstate)
    return dead == by_postgresql and (ruling.refused == dead.sqlstate or kind.stricter(literal))


def holds_what_postgresql_cannot(literal: str) -> bool:
    """U+0000 and lone surrogates are dead letters in every column, be they deep in a document."""
    texts = "".join(texts_of(literal))
    return "\0" in texts or holds_surrogates(texts)


def holds_surrogates(text: str) -> bool:
    return any("\ud800" <= sign <= "\udfff" for sign in text)


def texts_of(literal: str) -> Iterator[str]:
    """Every string in a JSON value, names and what a duplicate name hides among them."""

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | tuple):
            yield from chain.from_iterable(map(walk, value))

    return walk(json.loads(literal, object_pairs_hook=list, parse_int=len, parse_float=len))


def is_rounded_to_zero(kind: Kind, literal: str, landed: str | None) -> bool:
    """Below half of its least number a double is zero; PostgreSQL calls it out of range."""
    if kind.type != "double precision" or landed not in ("0", "-0"):
        return False
    return abs(Decimal(literal.strip('"'))) < Decimal("2.4703282292062328e-324")
