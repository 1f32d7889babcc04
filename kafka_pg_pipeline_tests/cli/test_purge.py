"""``kafka-pg purge`` as a user types it."""

from kafka_pg_pipeline_tests.cli.conftest import CommandLine
from kafka_pg_pipeline_tests.fix_streams import Bench


def age(bench: Bench) -> None:
    bench.query("UPDATE {schema}.ledger SET committed_at = committed_at - interval '10 days'")


def fill(bench: Bench, command_line: CommandLine, days: int) -> None:
    bench.create_topic(partitions=1)
    for number in range(5):
        bench.produce([{"id": number}], partition=lambda _: 0)
        bench.load()
    age(bench)
    command_line.use(bench, retention={"ledger_days": days})


def test_it_says_what_goes_first_and_then_does_it(command_line: CommandLine, bench: Bench) -> None:
    fill(bench, command_line, days=7)
    rehearsed = command_line.run("purge", "--dry-run")
    assert rehearsed.out == (
        f"{bench.name}: 3 ledger lines merged into others, 0 resolved dead letters removed; "
        "nothing was changed, this was a dry run\n"
    )
    done = command_line.run("purge", bench.name, "--json").json
    assert done == {
        "dry_run": False,
        "streams": [{"stream": bench.name, "merged_lines": 3, "removed_letters": 0}],
    }
    assert bench.query("SELECT count(*) FROM {schema}.ledger") == [(2,)]
    assert command_line.run("verify").code == 0
    assert "compacted" not in command_line.run("status").out


def test_the_file_says_how_old(command_line: CommandLine, bench: Bench) -> None:
    fill(bench, command_line, days=11)
    assert "0 ledger lines" in command_line.run("purge").out
    assert bench.query("SELECT count(*) FROM {schema}.ledger") == [(5,)]


def test_a_stream_that_left_the_file_is_known_by_its_ledger(
    command_line: CommandLine, bench: Bench
) -> None:
    fill(bench, command_line, days=7)
    name = bench.name
    document = command_line.use(bench, retention={"ledger_days": 7}).read_text()
    command_line.directory.joinpath("pipeline.yaml").write_text(document.replace(name, "another"))
    assert command_line.run("purge").out.startswith("another: 0 ledger lines")
    assert command_line.run("purge", name).out.startswith(f"{name}: 3 ledger lines")
    refused = command_line.run("purge", "nowhere")
    assert (refused.code, refused.out) == (2, "")
    assert "no stream 'nowhere', neither in the file nor in the ledger" in refused.err


def test_days_that_would_touch_runs_of_now_are_refused(
    command_line: CommandLine, bench: Bench
) -> None:
    command_line.use(bench, retention={"ledger_days": 1})
    refused = command_line.run("purge")
    assert refused.code == 2
    assert "retention.ledger_days" in refused.err
