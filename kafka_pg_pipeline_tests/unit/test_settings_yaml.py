"""YAML itself: what is none, and what it would rather have understood."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_pg_pipeline_tests.settings_files import (
    STREAM,
    load_or_refuse,
    load_stream,
    load_text,
    refuse_stream,
    refuse_text,
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("streams: {a: [unclosed\n", "2: this is no YAML: expected ',' or ']', but got '<stream"),
        ("streams:\n\ta: 1\n", "2: this is no YAML: a tab; YAML is indented with spaces"),
        ("streams:\n  a: b: c\n", "2: this is no YAML: mapping values are not allowed here"),
        ("streams:\n  a: @b\n", "2: this is no YAML: text that begins with @, ` or % belongs in"),
        ("streams:\n  a: */5 * *\n", "2: this is no YAML: text that begins with * belongs in quo"),
        ("streams:\n  a: *none\n", "2: this is no YAML: text that begins with * belongs in quote"),
        ("streams:\n  a: &b 1\n  c: &b 2\n", "3: this is no YAML: two anchors have one name; tex"),
        ("streams: {a: ${NAME}}\n", "1: this is no YAML: ${…} inside { } or [ ] belongs in quotes"),
        ("streams:\n  a: \x07\n", "2: this is no YAML: a control character"),
        ("streams: {}\n---\nstreams: {}\n", "2: this is no YAML: a second document begins here"),
        ("", "1: the file is empty; the file must hold sections, as `streams:`"),
        ("# nothing yet\n", "1: the file is empty"),
        ("\n- a\n- b\n", "2: this is no section; the file must hold sections, as `streams:`"),
        ("just text\n", "1: this is no section; the file must hold sections"),
        ("a: " + "[" * 3000 + "]" * 3000, "1: sections lie too deep in each other"),
    ],
)
def test_a_file_that_is_no_yaml_or_no_sections(tmp_path: Path, text: str, said: str) -> None:
    (line,) = refuse_text(tmp_path, text)
    assert line.startswith(f"pipeline.yaml:{said}")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("streams:\n  a: {topic: !mine t, table: t}\n", "2: streams.a.topic"),
        ("streams:\n  a: {topic: !!binary aGVsbG8=, table: t}\n", "2: streams.a.topic"),
        ("streams: !!set {a, b}\n", "1: streams"),
        ("streams: !!python/object:os.system {}\n", "1: streams"),
        (
            "streams:\n  a: {topic: t, table: t, batch: !!omap [max_rows: 3]}\n",
            "2: streams.a.batch",
        ),
    ],
)
def test_tags_are_refused(tmp_path: Path, text: str, place: str) -> None:
    (line,) = refuse_text(tmp_path, text)
    assert line.startswith(f"pipeline.yaml:{place}: tags (!…) have no meaning here")


@pytest.mark.parametrize("key", ["[a, b]", "{a: b}"])
def test_a_key_is_text(tmp_path: Path, key: str) -> None:
    (line,) = refuse_text(tmp_path, f"streams:\n  ? {key}\n  : {{topic: t, table: t}}\n")
    assert line == "pipeline.yaml:2: streams: a key is text, not a list or a section"


def test_a_key_that_stands_twice_names_both_lines(tmp_path: Path) -> None:
    lines = refuse_text(tmp_path, f"{STREAM}  orders:\n    topic: t\nkafka: {{}}\n'kafka': {{}}\n")
    assert lines == [
        "pipeline.yaml:5: streams.orders: this key stands twice, first in line 2",
        "pipeline.yaml:8: kafka: this key stands twice, first in line 7",
    ]


@pytest.mark.parametrize(
    "word", ["on", "no", "yes", "5", "0100", "1_000", "1:30", "2026-01-31", "="]
)
def test_text_stays_what_was_written(tmp_path: Path, word: str) -> None:
    loaded = load_text(
        tmp_path,
        f"streams: {{a: {{topic: t, table: {word}, columns: {{{word}: {word}}}}}}}\n"
        f"postgres: {{dbname: {word}, user: {word}}}\n",
    )
    stream, postgres = loaded.settings.streams["a"], loaded.settings.postgres
    assert (stream.table, stream.columns[word].type) == (word, word)
    assert (postgres.dbname, postgres.user) == (word, word)


@pytest.mark.parametrize("name", ["on", "no", "y", "null", "true"])
def test_a_stream_may_have_a_name_that_means_something_in_yaml(tmp_path: Path, name: str) -> None:
    loaded = load_text(tmp_path, f"streams: {{{name}: {{topic: t, table: t}}}}\n")
    assert list(loaded.settings.streams) == [name]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True),
        ("on", True),
        ("Yes", True),
        ("no", False),
        ("'off'", False),
        ("FALSE", False),
    ],
)
def test_words_for_true_and_false(tmp_path: Path, word: str, value: bool) -> None:
    assert load_stream(tmp_path, f"create: {word}").create is value


@pytest.mark.parametrize(
    ("number", "value"), [("1000", 1000), ("1_000", 1000), ("0100", 100), ("'7'", 7), ("+7", 7)]
)
def test_whole_numbers_are_decimal(tmp_path: Path, number: str, value: int) -> None:
    assert load_stream(tmp_path, f"batch: {{max_rows: {number}}}").batch.max_rows == value


@pytest.mark.parametrize("number", ["0x10", "0o17", "1:30", "on", "1e3", "1,000", "ten"])
def test_other_spellings_of_numbers_are_refused(tmp_path: Path, number: str) -> None:
    lines = refuse_stream(tmp_path, f"batch:\n      max_rows: '{number}'")
    plain = refuse_stream(tmp_path, f"batch:\n      max_rows: {number}")
    assert lines == plain
    assert "6: streams.orders.batch.max_rows: " in lines[0]
    assert "allowed: a whole number" in lines[0]


@pytest.mark.parametrize("nothing", ["", "~", "null", "''", '""'])
@pytest.mark.parametrize("section", ["kafka", "postgres"])
def test_a_section_with_nothing_in_it_counts_as_not_named(
    tmp_path: Path, section: str, nothing: str
) -> None:
    settings = load_text(tmp_path, f"{section}: {nothing}\n{STREAM}").settings
    assert getattr(settings, section) == type(getattr(settings, section))()


@pytest.mark.parametrize("nothing", ["", "~", "''"])
def test_a_key_with_nothing_behind_it_has_its_default(tmp_path: Path, nothing: str) -> None:
    stream = load_stream(
        tmp_path, f"mode: {nothing}\n    schedule: {nothing}\n    start: {nothing}"
    )
    assert (stream.mode, stream.schedule, stream.start) == ("append", None, "earliest")
    assert not {"mode", "schedule", "start"} & stream.model_fields_set


def test_anchors_stand_for_what_they_name(tmp_path: Path) -> None:
    streams = load_text(
        tmp_path,
        "streams:\n"
        "  a: {topic: &t orders, table: t, batch: &small {max_rows: 5}}\n"
        "  b: {topic: *t, table: u, batch: *small}\n",
    ).settings.streams
    assert (streams["b"].topic, streams["b"].batch.max_rows) == ("orders", 5)


def test_a_merge_key_gives_what_does_not_stand_in_the_section(tmp_path: Path) -> None:
    streams = load_text(
        tmp_path,
        "streams:\n"
        "  a: &a {topic: t, table: t, start: latest, batch: &b {max_rows: 5, max_seconds: 1}}\n"
        "  b:\n"
        "    <<: *a\n"
        "    table: u\n"
        "    batch:\n"
        "      <<: [{max_rows: 6}, *b]\n",
    ).settings.streams
    assert (streams["b"].topic, streams["b"].table, streams["b"].start) == ("t", "u", "latest")
    assert (streams["b"].batch.max_rows, streams["b"].batch.max_seconds) == (6, 1)
    assert (streams["a"].topic, streams["a"].batch.max_rows) == ("t", 5)


def test_an_error_in_an_anchor_is_told_where_the_value_stands(tmp_path: Path) -> None:
    lines = refuse_text(
        tmp_path,
        "streams:\n"
        "  a: &a\n"
        "    topic: t\n"
        "    table: t\n"
        "    mode: replace\n"
        "  b: {<<: *a, topic: u}\n",
    )
    assert [line.split(": ")[:2] for line in lines] == [
        ["pipeline.yaml:5", "streams.a.mode"],
        ["pipeline.yaml:5", "streams.b.mode"],
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "streams:\n  a: {<<: 5, topic: t, table: t}\n",
            "2: streams.a.<<: allowed: another section",
        ),
        ("streams:\n  a: &a {<<: *a, topic: t, table: t}\n", "2: streams.a.<<: allowed: another"),
        ("streams:\n  a: &a {topic: t, table: t, batch: *a}\n", "2: streams.a.batch: an anchor"),
        ("streams: &s\n  a: *s\n", "1: streams.a: an anchor cannot hold itself"),
    ],
)
def test_a_merge_of_no_section_and_a_circle_are_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    (line,) = refuse_text(tmp_path, text)
    assert line.startswith(f"pipeline.yaml:{said}")


def test_anchors_that_stand_for_too_much_are_refused(tmp_path: Path) -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (line,) = refuse_text(tmp_path, "\n".join(["a0: &a0 [x]", *levels]))
    assert "the anchors stand for more than 1,000,000 values" in line


def test_a_mark_of_byte_order_and_windows_lines_are_read(tmp_path: Path) -> None:
    text = "\ufeff" + STREAM.replace("\n", "\r\n")
    assert load_text(tmp_path, text).settings.streams["orders"].topic == "shop.orders"
    (line,) = refuse_text(tmp_path, text + "kafak: {}\r\n")
    assert line.startswith("pipeline.yaml:5: kafak: ")


KNOWN = ["streams", "kafka", "postgres", "a", "topic", "table", "batch", "max_rows", "max_bytes"]
KEYS = st.sampled_from([*KNOWN, "metadata", "columns", "start", "password", "source", "schedule"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.text()
TREES = st.recursive(
    LEAVES,
    lambda tree: st.lists(tree, max_size=4) | st.dictionaries(KEYS | st.text(), tree, max_size=6),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None)
@given(tree=TREES)
def test_whatever_a_file_holds_it_is_loaded_or_refused(
    tmp_path_factory: pytest.TempPathFactory, tree: Any
) -> None:
    path = tmp_path_factory.mktemp("any") / "pipeline.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), "utf-8")
    found = load_or_refuse(path)
    if isinstance(found, str):
        assert found.startswith(f"{path}:")
    else:
        assert found.path == path


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet=st.sampled_from("abc:{}[]&*!|>-#%@`'\"\\ \n\t$~<,?1"), max_size=60))
def test_whatever_a_file_looks_like_it_is_loaded_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "pipeline.yaml"
    path.write_text(f"streams: {{a: {{topic: t, table: t}}}}\n{text}", "utf-8")
    found = load_or_refuse(path)
    if isinstance(found, str):
        assert found.startswith(f"{path}:")
    else:
        assert list(found.settings.streams) == ["a"]
