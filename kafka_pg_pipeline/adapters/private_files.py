"""Files for drivers that read a text from a path alone: for their owner only, and soon gone."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def private_file(text: str) -> Iterator[Path]:
    """A file (0600, in a directory of its own, 0700) that holds the text while the body runs."""
    with tempfile.TemporaryDirectory(prefix="kafka-pg-") as directory:
        path = Path(directory) / "pem"
        path.touch(mode=0o600)
        path.write_text(text, encoding="ascii")
        yield path
