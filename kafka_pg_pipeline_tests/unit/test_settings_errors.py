"""What is wrong with a configuration file is told with file, line, key and what is allowed."""

from pathlib import Path

import pytest

from kafka_pg_pipeline_tests.settings_files import STREAM, refuse_stream, refuse_text

WHOLE = "allowed: a whole number from 1 to 10000000"
SECTIONS = "allowed: kafka, postgres, aiven, schema_registry, sensor, retention, alerts, streams"


@pytest.mark.parametrize(
    ("added", "key", "said"),
    [
        ("fromat: json", "fromat", "this key is not known; did you mean format? allowed: topic,"),
        ("zzz: 1", "zzz", "this key is not known; allowed: topic,"),
        ("batch: {max_row: 1}", "batch.max_row", "did you mean max_rows? allowed: max_rows,"),
        (
            "source: {knd: file}",
            "source.knd",
            "did you mean kind? allowed: kind, file,",
        ),
        ('"": x', '""', "this key is not known"),
        ("größe: x", '"größe"', "this key is not known"),
        ('"a\\n": x', '"a\\n"', "this key is not known"),
        ("fromat:", "fromat", "this key is not known; did you mean format?"),
        ("mode: update", "mode", "allowed: 'append', 'insert-ignore' or 'upsert'"),
        ("mode: upsert", "mode", "upsert needs `key`"),
        ("key: [id]", "key", "append asks no key"),
        ("on_data_loss: stop", "on_data_loss", "allowed: 'fail' or 'continue'"),
        ("create: perhaps", "create", "allowed: true or false"),
        ("batch: {max_rows: many}", "batch.max_rows", WHOLE),
        ("batch: {max_rows: 1.5}", "batch.max_rows", WHOLE),
        ("batch: {max_rows: true}", "batch.max_rows", WHOLE),
        ("batch: {max_rows: 0}", "batch.max_rows", WHOLE),
        ("batch: {max_rows: 10000001}", "batch.max_rows", WHOLE),
        (f"batch: {{max_rows: {'9' * 5000}}}", "batch.max_rows", WHOLE),
        ("batch: {max_seconds: 0}", "batch.max_seconds", "a number above 0, 3600 at most"),
        ("batch: {max_seconds: .nan}", "batch.max_seconds", "a number above 0, 3600 at most"),
        ("dead_letters: {max_share: 1.1}", "dead_letters.max_share", "a number from 0 to 1"),
        ("dead_letters: {max_records: -1}", "dead_letters.max_records", "number, 0 at least"),
        ("checks: {lag_records: -1}", "checks.lag_records", "a whole number, 0 at least"),
        ("checks: {lag_seconds: .inf}", "checks.lag_seconds", "a number above 0, 31536000 at most"),
        ("checks: {lag: 5}", "checks.lag", "allowed: lag_records, lag_seconds, dead_letter_share,"),
        ("checks: {severity: bad}", "checks.severity", "allowed: 'error', 'warn' or 'off', or a"),
        ("checks: {severity: {lag: bad}}", "checks.severity.lag", "'error', 'warn' or 'off'"),
        ("checks: {severity: {lga: off}}", "checks.severity.lga", "did you mean lag? allowed: no_"),
        ("batch: 5", "batch", "allowed: a section with the keys max_rows, max_bytes, max_seconds"),
        ("batch: [1]", "batch", "allowed: a section with the keys max_rows"),
        ("topic: [a]", "topic", "this key stands twice, first in line 3"),
        ("columns: [id]", "columns", "allowed: a section of `name: value`"),
        ("columns: {id: }", "columns.id", "allowed: text that is not empty"),
        ("columns: {'': text}", 'columns.""', "allowed: text that is not empty"),
        ("schedule: every day", "schedule", "allowed: five fields"),
        ("schedule: '* * * *'", "schedule", "allowed: five fields"),
        ("source: {kind: file}", "source.kind", "`kind: file` and `file: PATH` go together"),
        ("source: {file: a.jsonl}", "source.kind", "`kind: file` and `file: PATH` go together"),
    ],
)
def test_an_error_names_line_key_and_what_is_allowed(
    tmp_path: Path, added: str, key: str, said: str
) -> None:
    (line,) = refuse_stream(tmp_path, added)
    assert line.startswith(f"pipeline.yaml:5: streams.orders.{key}: ")
    assert said in line


@pytest.mark.parametrize(
    ("mode", "added", "said"),
    [
        ("upsert", "key: [id, id]", "key: a column stands twice"),
        ("upsert", "newest_wins: true", "newest_wins: this also needs metadata: partition, offset"),
        ("insert-ignore", "newest_wins: true", "newest_wins: only mode: upsert compares offsets"),
    ],
)
def test_what_a_mode_does_not_go_with_is_named_at_its_line(
    tmp_path: Path, mode: str, added: str, said: str
) -> None:
    key = "" if added.startswith("key") else "\n    key: [id]"
    (line,) = refuse_stream(tmp_path, f"mode: {mode}{key}\n    {added}")
    assert line.startswith(f"pipeline.yaml:{6 + bool(key)}: streams.orders.{said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"kafak: {{}}\n{STREAM}",
            f"1: kafak: this key is not known; did you mean kafka? {SECTIONS}",
        ),
        (f"kafak:\n{STREAM}", "1: kafak: this key is not known; did you mean kafka?"),
        ("kafka: {}\n", "1: streams: this key is needed; allowed: a section"),
        ("streams:\n", "1: streams: this key is needed"),
        ("streams: []\n", "1: streams: this value does not fit; allowed: a section"),
        (
            "\nstreams:\n  a: {topic: t}\n",
            "3: streams.a.table: this key is needed; allowed: schema",
        ),
        ("streams:\n  a:\n", "2: streams.a: this value does not fit; allowed: a section with"),
        ("streams:\n  a: text\n", "2: streams.a: this value does not fit; allowed: a section with"),
        (f"kafka: text\n{STREAM}", "1: kafka: this value does not fit; allowed: a section with"),
        (f"postgres: [1]\n{STREAM}", "1: postgres: this value does not fit; allowed: a section"),
        (f"kafka:\n  reader: fast\n{STREAM}", "2: kafka.reader: this value is not known; allowed:"),
        (f"postgres:\n  port: 70000\n{STREAM}", "2: postgres.port: this value does not fit; allow"),
        (f"postgres:\n\n  schema_name: x\n{STREAM}", "3: postgres.schema_name: this key is not kn"),
        (f"postgres:\n  schema: Big\n{STREAM}", "2: postgres.schema: this value does not fit; all"),
        (f"postgres:\n  host: postgres://db/x\n{STREAM}", "2: postgres.host: a URI is no host"),
    ],
)
def test_an_error_of_a_section_names_its_line(tmp_path: Path, text: str, said: str) -> None:
    (line,) = refuse_text(tmp_path, text)
    assert line.startswith(f"pipeline.yaml:{said}")


@pytest.mark.parametrize(
    ("lines", "key", "said"),
    [
        ("security_protocol: SASL_SSL", "security_protocol", "SASL_SSL also needs sasl_mechanism"),
        (
            "security_protocol: SASL_PLAINTEXT\n  sasl_mechanism: PLAIN\n  sasl_username: u\n"
            "  sasl_password: ${SECRET}",
            "security_protocol",
            "use SASL_SSL, or say allow_insecure: true",
        ),
        ("ssl_keyfile: key.pem", "ssl_keyfile", "ssl_certfile and ssl_keyfile go together"),
    ],
)
def test_keys_of_kafka_that_need_each_other(
    tmp_path: Path, lines: str, key: str, said: str
) -> None:
    (line,) = refuse_text(tmp_path, f"{STREAM}kafka:\n  {lines}\n", SECRET="s")
    assert line.startswith(f"pipeline.yaml:6: kafka.{key}: ")
    assert said in line


def test_all_errors_are_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    lines = refuse_text(
        tmp_path,
        "streams:\n"
        "  b:\n"
        "    topic: t\n"
        "    topic: u\n"
        "    table: ${NOWHERE}\n"
        "  a:\n"
        "    topic: no topic\n"
        "    fromat: json\n"
        "    batch:\n"
        "      max_rows: 0\n"
        "      max_bytes: 1\n"
        "kafak: {}\n"
        "postgres:\n"
        "  password: in clear\n"
        "  port: ${NOWHERE_EITHER}\n",
    )
    assert [line.split(": ")[:2] for line in lines] == [
        ["pipeline.yaml:4", "streams.b.topic"],
        ["pipeline.yaml:5", "streams.b.table"],
        ["pipeline.yaml:6", "streams.a.table"],
        ["pipeline.yaml:7", "streams.a.topic"],
        ["pipeline.yaml:8", "streams.a.fromat"],
        ["pipeline.yaml:10", "streams.a.batch.max_rows"],
        ["pipeline.yaml:11", "streams.a.batch.max_bytes"],
        ["pipeline.yaml:12", "kafak"],
        ["pipeline.yaml:14", "postgres.password"],
        ["pipeline.yaml:15", "postgres.port"],
    ]


def test_every_stream_tells_its_own_errors(tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(20)]
    text = "streams:\n" + "".join(f"  {name}: {{topic: t}}\n" for name in names)
    lines = refuse_text(tmp_path, text)
    assert [line.split(": ")[:2] for line in lines] == [
        [f"pipeline.yaml:{number}", f"streams.{name}.table"] for number, name in enumerate(names, 2)
    ]


@pytest.mark.parametrize(
    "name", ["Orders", "1st", "_x", "a-b", "a.b", "é", "a" * 64, '"a b"', '"a\\n"', "~"]
)
def test_a_streams_name_is_a_plain_word(tmp_path: Path, name: str) -> None:
    (line,) = refuse_text(tmp_path, f"streams:\n  {name}: {{topic: t, table: t}}\n")
    assert line.startswith("pipeline.yaml:2: streams.")
    assert "allowed: a name of lower-case letters, digits and _ that begins with a letter" in line


def test_a_table_belongs_to_one_stream(tmp_path: Path) -> None:
    (line,) = refuse_text(
        tmp_path,
        "streams:\n"
        "  a: {topic: t, table: orders}\n"
        "  b: {topic: t, table: other}\n"
        "  c: {topic: u, table: public.orders}\n",
    )
    assert line == (
        "pipeline.yaml:4: streams.c.table: stream a fills this table; give each stream a table of "
        "its own"
    )


@pytest.mark.parametrize(
    ("added", "place", "said"),
    [
        ("metadata: [offset, ofset]", "5: streams.orders.metadata[1]", "allowed: 'topic', 'parti"),
        (
            "metadata:\n      - offset\n      - ofset",
            "7: streams.orders.metadata[1]",
            "allowed: 't",
        ),
        ("metadata: [[offset]]", "5: streams.orders.metadata[0]", "allowed: 'topic', 'partition'"),
        ("metadata: [{offset: a}]", "5: streams.orders.metadata[0]", "allowed: 'topic', 'partitio"),
        ("metadata: [offset, offset]", "5: streams.orders.metadata", "an attribute stands twice"),
        ("metadata: offset", "5: streams.orders.metadata", "allowed: a list of topic, partition"),
        ("metadata: {ofset: a}", "5: streams.orders.metadata.ofset", "did you mean offset?"),
        ("metadata: {offset: }", "5: streams.orders.metadata.offset", "text that is not empty"),
        ("metadata: {key: a, offset: a}", "5: streams.orders.metadata", "have the same column"),
    ],
)
def test_metadata_is_checked_item_by_item(
    tmp_path: Path, added: str, place: str, said: str
) -> None:
    (line,) = refuse_stream(tmp_path, added)
    assert line.startswith(f"pipeline.yaml:{place}: ")
    assert said in line


@pytest.mark.parametrize("topic", ["a b", ".", "..", "a/b", '"a\\n"', "é", "a" * 250])
def test_a_topic_that_kafka_would_refuse(tmp_path: Path, topic: str) -> None:
    (line,) = refuse_text(tmp_path, f"streams:\n  a: {{table: t, topic: {topic}}}\n")
    assert line.startswith("pipeline.yaml:2: streams.a.topic: ")
    assert "allowed: a topic of letters, digits" in line


@pytest.mark.parametrize("table", ["a.b.c", "public.", ".t", "'\"Orders\"'", "'p.\"O\"'", "x" * 64])
def test_a_table_that_has_no_schema_and_name(tmp_path: Path, table: str) -> None:
    (line,) = refuse_text(tmp_path, f"streams:\n  a: {{topic: t, table: {table}}}\n")
    assert line.startswith("pipeline.yaml:2: streams.a.table: ")
    assert "allowed: schema.name, or name alone; without quotes" in line


@pytest.mark.parametrize(
    ("added", "place", "said"),
    [
        (
            "dead_letters: {topic: shop.orders}",
            "topic",
            "the stream reads this topic; name another one",
        ),
        ("dead_letters: {topic: a b}", "topic", "allowed: a topic of letters, digits"),
        ("dead_letters: {max_run_records: -1}", "max_run_records", "allowed: a whole number, 0"),
    ],
)
def test_dead_letters_are_checked(tmp_path: Path, added: str, place: str, said: str) -> None:
    (line,) = refuse_stream(tmp_path, added)
    assert line.startswith(f"pipeline.yaml:5: streams.orders.dead_letters.{place}: ")
    assert said in line
