"""What Dagster shows of a table and its topic: owners, tags, columns, lag, a preview if wanted."""

from typing import Any

import dagster as dg
import pytest

from kafka_pg_pipeline.definitions import build_definitions
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.orchestration.asset_keys import table_key, topic_key
from kafka_pg_pipeline.orchestration.follow import follow_config
from kafka_pg_pipeline.orchestration.metadata import write_markdown
from kafka_pg_pipeline.orchestration.streams import FOLLOW_JOB, TOGETHER_JOB
from kafka_pg_pipeline.settings.file import LoadedSettings, load_settings
from kafka_pg_pipeline.settings.models import PipelineSettings
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.topics import open_transaction

CANARY = "canary|<b>77"


def specs_of(**streams: Any) -> dict[str, dg.AssetSpec]:
    settings = PipelineSettings.model_validate({"streams": streams})
    definitions = build_definitions(LoadedSettings(settings, None, {}))
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


def test_a_stream_says_owner_group_tags_and_description_of_its_table() -> None:
    asset = {
        "description": "Orders of the **shop**.",
        "owners": ["shop@example.com", "team:data"],
        "group": "shop",
        "tags": {"domain": "sales"},
    }
    specs = specs_of(orders={"topic": "shop.orders", "table": "public.orders", "asset": asset})
    table, topic = specs["public/orders"], specs["kafka/shop.orders"]
    assert table.owners == ["shop@example.com", "team:data"]
    assert (table.group_name, topic.group_name) == ("shop", "shop")
    assert table.tags["domain"] == "sales"
    assert table.kinds == {"kafka", "postgres"}
    assert table.description is not None
    assert table.description.startswith("Orders of the **shop**.\n\nTable `public.orders`: ")
    assert "`kafka-pg status orders`" in table.description
    assert [dep.asset_key for dep in table.deps] == [topic.key]
    assert topic.description is not None
    assert "loaded into `public.orders`" in topic.description


def test_whatever_the_file_takes_as_owner_group_and_tag_dagster_takes_too() -> None:
    asset = {
        "owners": ["a.b+c@x.example.museum", "team:data-eng & friends", "_@b.de"],
        "group": "shop/orders",
        "tags": {"acme.com/tier": "1", "empty": ""},
    }
    table = specs_of(a={"topic": "t", "table": "public.t", "asset": asset})["public/t"]
    assert table.owners == asset["owners"]
    assert table.group_name == asset["group"]
    assert table.tags.items() >= {"acme.com/tier": "1", "empty": ""}.items()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("owners: [nobody]", "an e-mail address, or team:NAME"),
        ("owners: ['a@b.c']", "an e-mail address, or team:NAME"),
        ("owners: ['team:']", "an e-mail address, or team:NAME"),
        ("group: a/", "a name of letters, digits and _"),
        ("group: my group", "a name of letters, digits and _"),
        ("tags: {domain: 'a b'}", "letters, digits"),
        ("preview: perhaps", "true or false"),
        ("owner: a@b.de", "did you mean owners?"),
    ],
)
def test_what_dagster_would_refuse_is_told_with_line_and_key(
    tmp_path: Any, line: str, said: str
) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(f"streams:\n  a:\n    topic: t\n    table: t\n    asset:\n      {line}\n")
    with pytest.raises(ConfigurationError, match=said) as caught:
        load_settings(file, {})
    assert f"{file}:6: streams.a.asset." in str(caught.value)


def load(location: Any, instance: dg.DagsterInstance, job: str, **config: Any) -> str:
    result = location.job(job).execute_in_process(instance=instance, **config)
    assert result.success
    return str(result.run_id)


def newest(instance: dg.DagsterInstance, bench: Bench) -> tuple[Any, Any]:
    """Metadata of the table's newest materialization, and of the topic's newest observation."""
    [loaded] = instance.fetch_materializations(table_key(bench.stream), limit=1).records
    [seen] = instance.fetch_observations(topic_key(bench.stream), limit=1).records
    assert loaded.asset_materialization is not None
    assert seen.asset_observation is not None
    return (
        {name: value.value for name, value in loaded.asset_materialization.metadata.items()},
        {name: value.value for name, value in seen.asset_observation.metadata.items()},
    )


def test_every_kind_of_load_tells_the_same_of_table_and_topic(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench.create_topic()
    location = make_location(bench)
    ways = {
        f"load_{bench.name}": {},
        TOGETHER_JOB: {},
        FOLLOW_JOB: {"run_config": follow_config([], 2)},
        "kafka_to_postgres": {},
    }
    for job, config in ways.items():
        bench.produce([{"id": 1, "name": "x"}, b"broken", {"id": 2}])
        with open_transaction(bench, 2) as producer:
            run = load(location, instance, job, **config)
            producer.abort_transaction(30)
        kept = [dg.serialize_value(entry) for entry in instance.all_logs(run)]
        assert sum('"kafka/rows"' in entry for entry in kept) == 1, f"{job} keeps it twice"
        told = [e for e in kept if '"AssetMaterialization"' in e or '"AssetObservation"' in e]
        assert len(told) == 2
        assert sum(map(len, told)) < 12_000, f"{job} keeps more than measured"
        bench.load()  # past the aborted records, for the next way
        table, topic = newest(instance, bench)
        assert (table["kafka/rows"], table["kafka/dead_letters"]) == (2, 1), job
        assert table["kafka/lag_after"] == 0
        assert table["kafka/lag_seconds"] == 0.0
        assert table["kafka/rows_per_second"] > 0
        assert "kafka/preview" not in table
        columns = {c.name: c.type for c in table["dagster/column_schema"].columns}
        assert columns["id"] == "bigint"
        assert columns["kafka_offset"] == "bigint"
        assert (topic["kafka/lag"], topic["kafka/blocked_records"]) == (0, 2), job
        assert topic["kafka/partitions"] == 3


def test_a_load_that_stops_early_says_how_far_behind_it_is(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench.create_topic()
    bench.produce([{"id": number} for number in range(30)])
    consume = {f"{bench.name}__consume": {"config": {"max_records": 6}}}
    config = {"ops": {f"{bench.name}__table": {"ops": consume}}}
    load(make_location(bench), instance, f"load_{bench.name}", run_config=config)
    table, topic = newest(instance, bench)
    assert table["kafka/rows"] + topic["kafka/lag"] == 30
    assert topic["kafka/lag"] > 0
    assert 0 < topic["kafka/lag_seconds"] == table["kafka/lag_seconds"] < 600


def test_rows_are_shown_only_where_the_file_allows_it(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench.create_topic()
    bench.produce([{"id": number, "name": CANARY} for number in range(20)])
    location = make_location(bench, **{bench.name: {"asset": {"preview": True}}})
    load(location, instance, f"load_{bench.name}")
    preview = newest(instance, bench)[0]["kafka/preview"]
    lines = preview.splitlines()
    assert len(lines) == 2 + 5
    assert "canary&#124;&#60;b&#62;77" in lines[2]


def test_a_preview_is_a_small_table_whatever_the_values() -> None:
    rows = [
        {f"c{number}": "x" * 1000 for number in range(40)},
        dict.fromkeys((f"c{number}" for number in range(40)), None),
    ]
    lines = write_markdown(rows).splitlines()
    assert [line.count("|") for line in lines] == [13] * 4
    assert max(map(len, lines)) < 1000
