"""The process of a local job: it runs a module, and ends with everything it started when its parent ends.

Started as ``python -m homeostat.adapters.executors.guard <pid of the parent> <module> <arguments…>`` by
``LocalExecutor``, as the leader of its own process group. The kernel's own signal for this (PR_SET_PDEATHSIG)
comes when the thread that started the job ends, which is too early in a server; so the job watches its
parent.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from threading import Event, Thread
from typing import Final

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
    """Run the module as a program, watched over."""
    parent, module, *rest = arguments
    Thread(target=watch, args=(int(parent),), daemon=True, name="parent-watch").start()
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
