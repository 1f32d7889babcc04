"""Configuration files as text: what becomes of them, and what is said of them."""

from pathlib import Path

import pytest

from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.settings.file import LoadedSettings, load_settings
from kafka_pg_pipeline.settings.models import StreamSettings

FILE = "pipeline.yaml"
# Four lines; what a test adds to the stream begins in line 5.
STREAM = """\
streams:
  orders:
    topic: shop.orders
    table: public.orders
"""


def load_text(directory: Path, text: str, **environment: str) -> LoadedSettings:
    """The settings of a file with this text."""
    path = directory / FILE
    path.write_text(text, "utf-8", newline="")
    return load_settings(path, environment)


def load_stream(directory: Path, added: str = "", **environment: str) -> StreamSettings:
    """The stream ``orders`` with lines added to it."""
    loaded = load_text(directory, f"{STREAM}    {added}\n", **environment)
    return loaded.settings.streams["orders"]


def refuse_text(directory: Path, text: str, **environment: str) -> list[str]:
    """The lines of the error that a file with this text raises, without its directory."""
    with pytest.raises(ConfigurationError) as caught:
        load_text(directory, text, **environment)
    return str(caught.value).replace(f"{directory}/", "").splitlines()


def load_or_refuse(path: Path) -> LoadedSettings | str:
    """The settings of a file, or what is said of it."""
    try:
        return load_settings(path, {})
    except ConfigurationError as error:
        return str(error)


def refuse_stream(directory: Path, added: str, **environment: str) -> list[str]:
    """The same for the stream ``orders`` with lines added to it."""
    return refuse_text(directory, f"{STREAM}    {added}\n", **environment)
