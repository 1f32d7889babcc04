"""What PostgreSQL itself makes of a JSON document: the judge of what landed.

``json_populate_record`` is PostgreSQL's own way from a document to a row: its own parser, then each
type's input function. It shares nothing with our decoder, our literals or COPY's text format, so
that a fault in any of these shows. It is asked about the record's own bytes.

Where the product promises another reading of a kind of JSON value, that promise is written as SQL
over the value's text: casts, interval arithmetic and ``convert_to``, none of which we use.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kafka_pg_pipeline_tests.fix_streams import Bench

SAID = "(value #>> '{{}}')"  # a scalar's text: of a string what it says, of a number its digits
_POPULATED = "(SELECT one.v FROM json_populate_record(NULL::{table}, document::json) AS one)"
_SETTINGS = (
    "SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres'"
    " SET extra_float_digits = 1 SET bytea_output = 'hex'"
)


class Ruling(NamedTuple):
    """The value as PostgreSQL shows it, or the SQLSTATE with which it refuses the document."""

    text: str | None
    refused: str | None


def create_oracle(bench: Bench, readings: Mapping[str, str], shown: str) -> None:
    """Make the function ``oracle``, the reader of documents for the table's column ``v``.

    ``readings`` maps a kind of JSON value to SQL over ``value`` (see ``SAID``); ``shown`` is SQL
    over ``v``.
    """
    whens = "".join(f" WHEN '{kind}' THEN {reading}" for kind, reading in readings.items())
    read = f"CASE json_typeof(value) {whens} ELSE {_POPULATED} END" if whens else _POPULATED
    bench.query(
        f"""CREATE FUNCTION {_oracle(bench)}(document text) RETURNS text[] LANGUAGE plpgsql
        {_SETTINGS} AS $oracle$
        DECLARE
            value json;
            found text;
        BEGIN
            value := document::json -> 'v';
            SELECT {shown} INTO found FROM (SELECT {read} AS v) AS landed;
            RETURN ARRAY[found, NULL];
        EXCEPTION WHEN OTHERS THEN
            RETURN ARRAY[NULL, SQLSTATE];
        END $oracle$"""
    )


def ask_oracle(bench: Bench, documents: Sequence[bytes]) -> list[Ruling]:
    """A ruling on each document."""
    rows = bench.query(
        f"SELECT {_oracle(bench)}(document) FROM unnest(%s::text[]) WITH ORDINALITY"
        " AS given (document, number) ORDER BY number",
        [document.decode() for document in documents],
    )
    return [Ruling(*ruling) for (ruling,) in rows]


def _oracle(bench: Bench) -> str:
    return bench.stream.table.partition(".")[0] + ".oracle"
