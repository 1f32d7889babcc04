"""A bet that the table has none of a batch's keys: a plain INSERT costs half of ON CONFLICT.

Nothing tells beforehand whether a key is new, for a look at each costs what it would save. A bet
that is lost ends at the first key that has a row, in a subtransaction, and what it had inserted
until then is left for vacuum; so it is made for large batches only, and each one lost doubles the
number of batches until the next.
"""

from psycopg2 import sql

from kafka_pg_pipeline.adapters.postgres.connection import Cursor
from kafka_pg_pipeline.adapters.postgres.sides import Part

# Below this many lines there is next to nothing to win.
LARGE = 5_000

# The handler keeps a lost bet out of the server's log, with the key that its message would show.
# Rows that a trigger swallows are left to the merge, which has a name for them. A column may have
# the name of the variable.
_BODY = """
#variable_conflict use_column
DECLARE
    arrived bigint;
BEGIN
    {insert};
    GET DIAGNOSTICS arrived = ROW_COUNT;
    IF arrived <> {lines} AND arrived <> (SELECT count(*) FROM ({standing}) AS standing) THEN
        RAISE unique_violation;
    END IF;
    PERFORM set_config('kafka_pg.inserted', arrived::text, true);
EXCEPTION WHEN unique_violation THEN
    PERFORM set_config('kafka_pg.inserted', '', true);
END
"""


class NewRows:
    """The bets of one writer."""

    def __init__(self) -> None:
        self._may_bet: bool | None = None
        self._passes = 0
        self._next_passes = 1

    def insert(self, cursor: Cursor, insert: sql.Composed, part: Part) -> int | None:
        """Run an INSERT of the lines that stand; the number of rows, None where it did nothing."""
        if part.count < LARGE or not self._is_allowed(cursor):
            return None
        if self._passes:
            self._passes -= 1
            return None
        body = sql.SQL(_BODY).format(
            insert=insert, lines=sql.Literal(part.count), standing=part.standing
        )
        cursor.execute(
            sql.SQL(
                "DO {}; SELECT nullif(current_setting('kafka_pg.inserted'), '')::bigint"
            ).format(sql.Literal(body.as_string(cursor)))
        )
        arrived: int | None = (cursor.fetchone() or (None,))[0]
        if arrived is None:
            self._passes, self._next_passes = self._next_passes, 2 * self._next_passes
        return arrived

    def _is_allowed(self, cursor: Cursor) -> bool:
        """Whether the role may write in PL/pgSQL, which some servers do without."""
        if self._may_bet is None:
            cursor.execute(
                "SELECT has_language_privilege(oid, 'USAGE') FROM pg_language"
                " WHERE lanname = 'plpgsql'"
            )
            self._may_bet = cursor.fetchone() == (True,)
        return self._may_bet
