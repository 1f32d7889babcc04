"""Waits for what another process or thread does."""

import time
from collections.abc import Callable
from typing import Any

_LOOK_EVERY_SECONDS = 0.05


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true within {seconds} s"
        time.sleep(_LOOK_EVERY_SECONDS)
