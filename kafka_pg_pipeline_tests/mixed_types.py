"""A table of mixed types, and what happens to its rows, as SQL for the source of Debezium.

Statements hold {table} and {schema}, as ``DebeziumSource.execute`` takes them.
"""

from collections.abc import Mapping

ENUM = "CREATE TYPE {schema}.mood AS ENUM ('sad', 'ok', 'happy and glad')"

# Values of one ordinary row, of one at the edges of what both ends can say.
COLUMNS: Mapping[str, tuple[str, str, str]] = {
    "c_smallint": ("smallint", "7", "-32768"),
    "c_integer": ("integer", "42", "2147483647"),
    "c_bigint": ("bigint", "1234567890123", "-9223372036854775808"),
    "c_numeric": ("numeric(20,6)", "12345.678900", "-99999999999999.999999"),
    "c_free": ("numeric", "1.10", "123456789012345678901234567890.123456789012345678901234567890"),
    "c_real": ("real", "1.5", "-3.4028235e38"),
    "c_double": ("double precision", "0.1", "5e-324"),
    "c_boolean": ("boolean", "true", "false"),
    "c_text": ("text", "'plain'", r"E'tab\t newline\n quote\" backslash\\ zwölf 日本 \U0001F600'"),
    "c_varchar": ("varchar(20)", "'some'", "''"),
    "c_char": ("char(5)", "'ab'", "'abcde'"),
    "c_bytea": ("bytea", r"'\x00ff10'", r"'\x'"),
    "c_date": ("date", "'2026-11-25'", "'0001-01-01'"),
    "c_time": ("time", "'12:34:56.789012'", "'23:59:59.999999'"),
    "c_timestamp3": ("timestamp(3)", "'2026-11-25 12:34:56.789'", "'1969-12-31 23:59:59.999'"),
    "c_timestamp6": ("timestamp(6)", "'2026-11-25 12:34:56.789012'", "'1900-01-01 00:00:00'"),
    "c_timestamptz": (
        "timestamptz",
        "'2026-11-25 12:34:56.789012+02'",
        "'9999-12-31 23:59:59.999999+00'",
    ),
    "c_interval": ("interval", "'1 day 02:03:04.5'", "'-2 hours'"),
    "c_uuid": (
        "uuid",
        "'8c1f1e5e-33a5-4e1b-a9a5-0123456789ab'",
        "'00000000-0000-0000-0000-000000000000'",
    ),
    "c_json": ("json", """'{{"a" : 1,"a":2}}'""", """'"text"'"""),
    "c_jsonb": ("jsonb", """'{{"b": [1, 2.50], "a": null}}'""", "'[]'"),
    "c_texts": ("text[]", "ARRAY['a', NULL, 'b,c\"']", "'{{}}'"),
    "c_integers": ("int[]", "'{{1,NULL,-3}}'", "'{{}}'"),
    "c_mood": ("{schema}.mood", "'ok'", "'happy and glad'"),
    "c_inet": ("inet", "'192.168.0.1/24'", "'::1'"),
}


def create(table: str = "{table}") -> str:
    """The table, with a big text that PostgreSQL keeps out of line."""
    columns = "".join(f"{name} {given[0]}, " for name, given in COLUMNS.items())
    return f"CREATE TABLE {table} (id integer PRIMARY KEY, {columns}big text)"


def insert(
    identifier: int, *, edge: bool = False, big: bool = False, table: str = "{table}"
) -> str:
    """A row of ordinary values, or of those at the edges."""
    values = ", ".join(given[2 if edge else 1] for given in COLUMNS.values())
    text = f"(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 300) n WHERE {big})"
    names = ", ".join(["id", *COLUMNS, "big"])
    return f"INSERT INTO {table} ({names}) VALUES ({identifier}, {values}, {text})"


def insert_nulls(identifier: int, table: str = "{table}") -> str:
    """A row of nothing but its key."""
    return f"INSERT INTO {table} (id) VALUES ({identifier})"
