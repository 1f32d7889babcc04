"""PostgreSQL reads in either of COPY's formats what was written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg2 import sql

from kafka_pg_pipeline.adapters.postgres.connection import connect
from kafka_pg_pipeline.adapters.postgres.staging import copy_lines
from kafka_pg_pipeline.domain.copy_text import CopyFormat, TextLines
from kafka_pg_pipeline.pipeline.write_lines import write_lines

COLUMNS = [sql.Identifier(name) for name in ("t", "n", "d", "b")]
ROWS = st.lists(
    st.tuples(
        st.none()
        | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
        | st.sampled_from(["null", r"\N", r"\.", "", " ", '"', "\\", ",", '\\"', "\n\\.\n"]),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture
def cursor(postgres):
    connection = connect(postgres, application_name="test")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE c (t text, n bigint, d double precision, b boolean)")
        yield cursor
    connection.close()


def copied(cursor, lines):
    cursor.execute("TRUNCATE c")
    assert copy_lines(cursor, sql.Identifier("c"), COLUMNS, lines) == len(lines)
    cursor.execute("SELECT t, n, d, b FROM c")
    return cursor.fetchall()


def test_what_was_written_is_what_postgresql_reads(cursor):
    formats = set()

    @given(ROWS)
    def holds_for(rows):
        lines = write_lines(rows)
        formats.add(lines.format)
        assert copied(cursor, lines) == rows
        assert copied(cursor, TextLines(lines)) == rows
        assert copied(cursor, lines.pick(range(len(rows) - 1))) == rows[:-1]

    holds_for()
    assert formats == set(CopyFormat)
