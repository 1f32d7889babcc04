"""The canary that watches the session finds what it is meant to find."""

from pathlib import Path

from kafka_pg_pipeline_tests.fix_aiven import TOKEN, Canary


def test_the_canary_finds_secrets_in_logs_and_files_save_those_that_were_asked_for(
    tmp_path: Path,
) -> None:
    canary = Canary(directories=[tmp_path], told=["all is well"])
    (tmp_path / "certificates").mkdir()
    (tmp_path / "certificates" / "asked.pem").write_text(TOKEN)
    assert list(canary.find_told()) == []
    (tmp_path / "event.db").write_bytes(b"\0" + TOKEN.encode())
    canary.told.append(f"Authorization: aivenv1 {TOKEN}")
    assert list(canary.find_told()) == [
        f"log: Authorization: aivenv1 {TOKEN}",
        str(tmp_path / "event.db"),
    ]
