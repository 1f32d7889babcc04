"""Does the same for each stream; one stream's failure does not hold up the others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

from kafka_pg_pipeline.assembly.session import StreamSession, open_session
from kafka_pg_pipeline.cli.configuration import Pipeline
from kafka_pg_pipeline.cli.failures import FAILED, SUCCESS, exit_code_of, tell_failure
from kafka_pg_pipeline.cli.invocation import Invocation
from kafka_pg_pipeline.cli.output import print_json, print_line, to_plain
from kafka_pg_pipeline.errors import PipelineError
from kafka_pg_pipeline.settings.models import StreamSettings

T = TypeVar("T")


def new_run_id() -> str:
    """What the ledger calls a run of the command line."""
    return f"cli-{uuid4().hex[:8]}"


@contextmanager
def looking(pipeline: Pipeline, name: str, stream: StreamSettings) -> Iterator[StreamSession]:
    """A session that changes nothing, not even the pipeline's own schema."""
    with open_session(
        name, stream, pipeline.endpoints, run_id=new_run_id(), read_only=True
    ) as session:
        yield session


def show_each(
    invocation: Invocation,
    pipeline: Pipeline,
    names: tuple[str, ...],
    *,
    fetch: Callable[[StreamSession], T],
    show: Callable[[T], None],
    plain: Callable[[T], Any] = to_plain,
    problem: Callable[[T], object] = lambda _: None,
    as_json: bool,
) -> int:
    """Fetch and show something of each stream, in one JSON document or one after the other.

    Returns:
        The exit code: success where no stream failed, and none has a ``problem``.
    """
    documents: list[Any] = []
    errors: list[PipelineError] = []
    has_problem = False
    for name, stream in pipeline.select(names).items():
        try:
            with looking(pipeline, name, stream) as session:
                found = fetch(session)
        except PipelineError as error:
            errors.append(error)
            tell_failure(error, debug=invocation.debug, stream=name)
            documents.append({"stream": name, "error": str(error)})
            continue
        has_problem = has_problem or problem(found) is not None
        documents.append(plain(found))
        if not as_json:
            if len(documents) > 1:
                print_line()
            show(found)
    if as_json:
        print_json({"streams": documents})
    return exit_code_of(errors) or (FAILED if has_problem else SUCCESS)
