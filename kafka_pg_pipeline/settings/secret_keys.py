"""Which keys of the file hold secrets, as the models' types say."""

import inspect
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from kafka_pg_pipeline.settings.models import PipelineSettings
from kafka_pg_pipeline.settings.positions import Path

_WRAPPERS = (Annotated, Union, UnionType)


def is_secret(path: Path) -> bool:
    """Whether a key holds a secret.

    The JSON Schema says so too, but each command would wait a moment for it to be made.
    """
    types: list[Any] = [PipelineSettings]
    for part in path:
        types = [found for known in types for found in _step(known, part)]
    return SecretStr in types


def _step(known: Any, part: str | int) -> Iterator[Any]:
    """What a key of that name, or an item, may be."""
    if inspect.isclass(known) and issubclass(known, BaseModel):
        field = known.model_fields.get(str(part))
        if field is not None:
            yield from _unwrap(field.annotation)
    elif _is_mapping(known):
        yield from _unwrap(get_args(known)[1])


def _is_mapping(known: Any) -> bool:
    origin = get_origin(known)
    return inspect.isclass(origin) and issubclass(origin, Mapping)


def _unwrap(annotation: Any) -> Iterator[Any]:
    """The types that an annotation allows."""
    if get_origin(annotation) not in _WRAPPERS:
        yield annotation
        return
    is_annotated = get_origin(annotation) is Annotated
    for inner in get_args(annotation)[: 1 if is_annotated else None]:
        yield from _unwrap(inner)
