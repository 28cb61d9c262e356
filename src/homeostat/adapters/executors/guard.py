"""The process of a local job: it runs a module, and ends with everything it started when its parent ends.

Started as ``python -m homeostat.adapters.executors.guard <pid of the parent> <libraries…>`` by ``LocalExecutor``, as
the leader of its own process group. It imports the libraries, then waits for its order, so that a process can be made
ready before there is a job for it. The kernel's own signal for the end of a parent (PR_SET_PDEATHSIG) comes when the
thread that started the job ends, which is too early in a server; so the job watches its parent.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from contextlib import suppress
from threading import Event, Thread
from typing import Final

from homeostat.adapters.executors.orders import follow

_LOOK: Final = 0.5
_GRACE: Final = 5.0


def watch(parent: int) -> None:
    """End this process group once ``parent`` is gone: politely, then for certain."""
    pause = Event()
    while os.getppid() == parent:
        pause.wait(_LOOK)
    os.killpg(os.getpgid(0), signal.SIGTERM)
    pause.wait(_GRACE)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def main(arguments: list[str]) -> None:
    """Become a job once one is ordered, watched over."""
    parent, *libraries = arguments
    Thread(target=watch, args=(int(parent),), daemon=True, name="parent-watch").start()
    with suppress(ImportError):  # the job imports them too, and says in its log what is wrong
        for name in libraries:
            importlib.import_module(name)
    follow()


if __name__ == "__main__":
    main(sys.argv[1:])
