"""Libraries that not every user needs, which come with extras of this package."""

from importlib import import_module
from types import ModuleType

from kafka_pg_pipeline.errors import ConfigurationError


def import_extra(module: str, *, extra: str, needed_by: str) -> ModuleType:
    """A module that only works with the libraries that an extra brings.

    Raises:
        ConfigurationError: the extra is not installed; naming it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        library = (error.name or module).partition(".")[0]
        raise ConfigurationError(
            f"{needed_by} needs {library}, which is not installed: "
            f"pip install 'kafka-pg-pipeline[{extra}]'"
        ) from None
