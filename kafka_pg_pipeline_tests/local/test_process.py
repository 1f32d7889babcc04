"""Commands and processes, without a server."""

import os
import signal
from pathlib import Path

import pytest

from kafka_pg_pipeline.local.errors import LocalStackError
from kafka_pg_pipeline.local.process import Account, Command, Identity, fetch_identity

NOBODY = Account("nobody", 65534, 65534)


def _shell(script: str, directory: Path) -> Command:
    return Command(["/bin/sh", "-c", script], {"PATH": os.defpath, "SECRET": "s"}, directory)


def test_command_reads_its_input_and_gives_its_output(tmp_path: Path) -> None:
    assert _shell("cat; echo $SECRET; pwd", tmp_path).run(text="in\n") == f"in\ns\n{tmp_path}\n"


def test_full_disk_met_by_a_command_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match=r"^the disk of '.*' is full; free some$"):
        _shell("echo 'could not write: No space left on device'; exit 1", tmp_path).run()


def test_failed_command_shows_the_end_of_its_output(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match=r"sh failed with exit code 3: why$"):
        _shell("echo why >&2; exit 3", tmp_path).run()


def test_command_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match="did not end within 0 s"):
        _shell("exec sleep 60", tmp_path).run(timeout_seconds=0.2)


def test_missing_program_is_an_error(tmp_path: Path) -> None:
    command = Command([str(tmp_path / "none")], {})
    with pytest.raises(LocalStackError, match=r"cannot start .*none"):
        command.spawn(log=tmp_path / "log", die_with_parent=False, death_signal=signal.SIGKILL)
    with pytest.raises(LocalStackError, match="No such file"):
        command.run()


def test_spawned_command_is_killed_with_its_children(tmp_path: Path) -> None:
    script = "sleep 60 & echo $! > child; wait"
    identity = _shell(script, tmp_path).spawn(
        log=tmp_path / "log", die_with_parent=False, death_signal=signal.SIGKILL
    )
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
        assert identity.is_alive()
    child = fetch_identity(int((tmp_path / "child").read_text()))
    assert child is not None
    identity.kill()
    assert not identity.is_alive()
    assert not child.is_alive()


def test_reused_process_id_is_another_process() -> None:
    mine = fetch_identity(os.getpid())
    assert mine is not None
    assert mine.is_alive()
    assert not Identity(pid=mine.pid, fingerprint="another life").is_alive()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_other_user_reaches_private_directories_of_root(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "file").write_text("content")
    command = Command(
        ["/bin/sh", "-c", "id -u; cat private/file"], {"PATH": os.defpath}, tmp_path, NOBODY
    )
    assert command.run() == "65534\ncontent"
