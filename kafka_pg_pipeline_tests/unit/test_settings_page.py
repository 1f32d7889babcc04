"""docs/configuration.md: its examples are files, and what it says of them is so."""

import re
from pathlib import Path

import pytest

from kafka_pg_pipeline.domain.tables import METADATA_TYPES, Attribute, ColumnRule, MetadataField
from kafka_pg_pipeline.pipeline.infer import infer_columns
from kafka_pg_pipeline.pipeline.mapping import FieldMapping
from kafka_pg_pipeline.settings.file import LoadedSettings
from kafka_pg_pipeline_tests.docs.blocks import ROOT, Block, read_blocks
from kafka_pg_pipeline_tests.settings_files import load_text

PAGE = ROOT / "docs" / "configuration.md"
EXAMPLES = [block for block in read_blocks(PAGE) if block.language == "yaml"]
ENVIRONMENT = {"KAFKA_PASSWORD": "k", "DB_PASSWORD": "p"}


def load_example(directory: Path, number: int, **environment: str) -> LoadedSettings:
    return load_text(directory, EXAMPLES[number].text, **ENVIRONMENT, **environment)


def read_table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    text = PAGE.read_text("utf-8").partition(f"\n## {heading}\n")[2]
    lines = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert lines is not None, heading
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[0].splitlines()
    ][2:]


@pytest.mark.parametrize("block", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_is_a_file(tmp_path: Path, block: Block) -> None:
    loaded = load_text(tmp_path, block.text, **ENVIRONMENT)
    assert loaded.settings.streams


def test_the_complete_example_means_what_its_comments_say(tmp_path: Path) -> None:
    loaded = load_example(tmp_path, 0)
    settings = loaded.settings
    assert loaded.secret_variables == {
        "kafka.sasl_password": "KAFKA_PASSWORD",
        "postgres.password": "DB_PASSWORD",
    }
    assert settings.kafka.ssl_cafile == tmp_path / "certs/ca.pem"
    assert (settings.postgres.host, settings.postgres.port) == ("localhost", 5432)
    assert load_example(tmp_path, 0, DB_HOST="db").settings.postgres.host == "db"
    clicks = settings.streams["clicks"]
    assert (clicks.create, clicks.start, clicks.on_data_loss) == (False, "latest", "continue")
    assert clicks.metadata[MetadataField.OFFSET] == "source_offset"


def test_what_the_complete_example_shows_as_usual_is_the_default(tmp_path: Path) -> None:
    settings = load_example(tmp_path, 0).settings
    orders = settings.streams["orders"]
    for section, keys in (
        (orders, ("start", "batch", "dead_letters")),
        (settings.postgres, ("schema_name",)),
    ):
        fields = type(section).model_fields
        for key in keys:
            assert getattr(section, key) == fields[key].get_default(call_default_factory=True)


def test_the_merged_example_keeps_what_it_does_not_say(tmp_path: Path) -> None:
    streams = load_example(tmp_path, 1, BATCH_ROWS="7").settings.streams
    assert streams["returns"].batch == streams["orders"].batch
    assert (streams["returns"].batch.max_rows, streams["returns"].table) == (7, "public.returns")
    assert streams["orders"].table == "public.orders"


def test_the_examples_of_errors_are_errors(tmp_path: Path) -> None:
    (shown,) = [block.text for block in read_blocks(PAGE) if block.language == "text"]
    text = "\n".join(
        [
            "streams:",
            "  orders:",
            "    topic: shop.orders",
            "    fromat: json",
            "    table: t",
            "    batch:",
            "      max_rows: 0",
        ]
    )
    with pytest.raises(Exception, match="fromat") as caught:
        load_text(tmp_path, text)
    said = str(caught.value).replace(f"{tmp_path}/", "").splitlines()
    for line, example in zip(said, shown.splitlines(), strict=True):
        assert line.startswith(example.removesuffix("…"))


@pytest.mark.parametrize(
    ("values", "row"),
    [
        (["1", "9223372036854775807"], 0),
        (["1", "2.5", "null"], 1),
        (["9007199254740993", "2.5"], 2),
        (["0.1234567890123456789"], 2),
        (["9223372036854775808"], 2),
        (["true", "false"], 3),
        (['"2026-01-31T12:00:00Z"', '"2026-01-31 12:00+02"'], 4),
        (["[1]", "5", '"a"'], 5),
        (['"2026-01-31"'], 6),
        (["true", "1"], 6),
        (["null"], 6),
        (['"2026-01-31T12:00:00Z"', "5"], 6),
    ],
)
def test_columns_of_a_new_table_are_chosen_as_the_page_says(values: list[str], row: int) -> None:
    (column,) = infer_columns([f'{{"a": {value}}}'.encode() for value in values], FieldMapping())
    assert f"`{column.type_name}`" == read_table("Columns of a new table")[row][1]


def test_metadata_columns_are_named_and_typed_as_the_page_says() -> None:
    rules = {
        f"kafka_{field.value}": ColumnRule(Attribute(field), METADATA_TYPES[field])
        for field in MetadataField
    }
    columns = infer_columns([b'{"a": 1}'], FieldMapping(rules))[1:]
    assert [row[:3] for row in read_table("Metadata columns")] == [
        [f"`{column.metadata.value}`", f"`{column.name}`", f"`{column.type_name}`"]
        for column in columns
        if column.metadata
    ]
