"""Libraries of single formats, which come with extras of this package."""

from importlib import import_module
from types import ModuleType

from kafka_pg_pipeline.errors import ConfigurationError


def import_extra(module: str, extra: str) -> ModuleType:
    """A module of a library that an extra brings.

    Raises:
        ConfigurationError: the extra is not installed; naming it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise ConfigurationError(
            f"this format needs {module.partition('.')[0]}, which is not installed: "
            f"pip install 'kafka-pg-pipeline[{extra}]'"
        ) from None
