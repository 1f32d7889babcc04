"""COPY's text format."""

import pytest

from kafka_pg_pipeline.domain.copy_text import copy_payload, escape


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, r"\N"),
        ("", ""),
        (r"\N", r"\\N"),
        (r"\.", r"\\."),
        ("a\tb\nc\rd\\e", r"a\tb\nc\rd\\e"),
        ("\b\f\v\x7f\x85\u2028", "\b\f\v\x7f\x85\u2028"),
        ("tschüss 😀", "tschüss 😀"),
    ],
)
def test_what_copy_would_read_as_something_else_is_escaped(text, expected):
    assert escape(text) == expected


def test_a_payload_ends_each_line_and_is_utf8():
    assert copy_payload(["a\tb", "ü"]) == b"a\tb\n\xc3\xbc\n"


def test_an_empty_line_is_a_row():
    assert copy_payload([""]) == b"\n"


def test_no_lines_are_no_payload():
    assert copy_payload([]) == b""
