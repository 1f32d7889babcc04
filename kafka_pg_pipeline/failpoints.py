"""Places where tests make a loader die, freeze or fail; inert unless KPP_FAILPOINT is set.

``KPP_FAILPOINT=<name>:<action>`` with the actions ``kill`` (SIGKILL), ``stop`` (SIGSTOP),
``sleep:<seconds>``, ``raise`` and ``wait:<path>`` (until that file exists). The fault matrix of
the test suite reaches real processes through it.
"""

import os
import signal
import time
from pathlib import Path

VARIABLE = "KPP_FAILPOINT"


class FailpointError(RuntimeError):
    """Raised by the action ``raise``."""


def reach(name: str) -> None:
    """Do what the environment asks for at the failpoint ``name``; usually nothing."""
    spec = os.environ.get(VARIABLE)
    if not spec:
        return
    wanted, _, action = spec.partition(":")
    if wanted == name:
        _act(name, *action.partition(":")[::2])


def _act(name: str, verb: str, argument: str) -> None:
    if verb == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif verb == "sleep":
        time.sleep(float(argument))
    elif verb == "wait":
        while not Path(argument).exists():
            time.sleep(0.01)
    else:
        raise FailpointError(name)
