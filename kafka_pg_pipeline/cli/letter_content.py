"""A dead letter with its record's content, for people and for machines."""

from typing import Any

from kafka_pg_pipeline.cli.output import (
    format_bytes,
    format_milliseconds,
    format_time,
    print_line,
    print_table,
    to_plain,
)
from kafka_pg_pipeline.domain.letters import Letter, OpenedLetter


def show_letter(topic: str, opened: OpenedLetter) -> None:
    """What is known of the letter, then headers, key and value."""
    letter, record = opened.letter, opened.record
    print_line(
        f"dead letter {letter.id}: {topic}[{letter.partition}]@{letter.offset}", style="bold"
    )
    print_table(("", ""), _describe(letter))
    for name, value in record.headers:
        print_line(f"header {_decode(name.encode())}: {_decode(value)}")
    print_line(f"key: {_decode(record.key)}")
    print_line("value:")
    print_line(_decode(record.value))


def _describe(letter: Letter) -> list[tuple[str, object]]:
    lines: list[tuple[str, object]] = [
        ("reason", letter.reason),
        ("stage", letter.stage),
        ("column", letter.column),
        ("SQLSTATE", letter.sqlstate),
        ("record's time", format_milliseconds(letter.timestamp)),
        ("stored", letter.stored_at),
        ("size", format_bytes(letter.record_bytes)),
    ]
    if letter.resolution is not None and letter.resolved_at is not None:
        when = format_time(letter.resolved_at)
        lines.append((letter.resolution.value, f"{when} by run {letter.resolved_by}"))
    if letter.copied_at is not None:
        lines.append(("copied", letter.copied_at))
    return lines


def _decode(data: bytes | None) -> str:
    r"""UTF-8 that a terminal can show as it is; else ``\x`` and hexadecimal digits."""
    if data is None:
        return "none"
    text = _as_text(data)
    return text if text is not None and _is_harmless(text) else f"\\x{data.hex()}"


def _as_text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _is_harmless(text: str) -> bool:
    """A record's content must not command the terminal that shows it."""
    return all(character.isprintable() or character in "\n\t" for character in text)


def plain_letter(stream: str, topic: str, opened: OpenedLetter) -> Any:
    """The letter for JSON; bytes that are not UTF-8 are in hexadecimal digits."""
    record = opened.record
    return {
        "stream": stream,
        "topic": topic,
        **to_plain(opened.letter),
        "key": _plain_bytes(record.key),
        "value": _plain_bytes(record.value),
        "headers": [{"name": name, "value": _plain_bytes(value)} for name, value in record.headers],
    }


def _plain_bytes(data: bytes | None) -> Any:
    if data is None:
        return None
    text = _as_text(data)
    return {"hex": data.hex()} if text is None else {"text": text}
