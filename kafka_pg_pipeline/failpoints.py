"""Places where tests make a loader die, freeze or fail; inert unless KPP_FAILPOINT is set.

``KPP_FAILPOINT=<name>:<action>`` acts whenever the failpoint is reached, ``<name>@<n>:<action>``
only the n-th time. The actions are ``kill`` (SIGKILL), ``stop`` (SIGSTOP), ``sleep:<seconds>``,
``raise`` and ``wait:<path>`` (until that file exists; ``<path>.reached`` tells that it is waited
for). The fault matrix of the test suite reaches real processes through it.
"""

import os
import signal
import time
from collections import Counter
from pathlib import Path

VARIABLE = "KPP_FAILPOINT"

_times_reached: Counter[str] = Counter()


class FailpointError(RuntimeError):
    """Raised by the action ``raise``."""


def is_armed(name: str) -> bool:
    """Whether the environment asks for anything at the failpoint ``name``."""
    return os.environ.get(VARIABLE, "").partition(":")[0].partition("@")[0] == name


def reach(name: str) -> None:
    """Do what the environment asks for at the failpoint ``name``; usually nothing."""
    if not is_armed(name):
        return
    place, _, action = os.environ[VARIABLE].partition(":")
    turn = place.partition("@")[2]
    _times_reached[name] += 1
    if not turn or _times_reached[name] == int(turn):
        _act(name, *action.partition(":")[::2])


def forget() -> None:
    """Count from the beginning again."""
    _times_reached.clear()


def _act(name: str, verb: str, argument: str) -> None:
    if verb == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.2)  # where another thread takes the signal, this one goes on for a moment
    elif verb == "sleep":
        time.sleep(float(argument))
    elif verb == "wait":
        Path(f"{argument}.reached").touch()
        while not Path(argument).exists():
            time.sleep(0.01)
    else:
        raise FailpointError(name)
