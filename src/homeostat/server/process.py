"""What the processes that answer have in common: how they begin, and that they end with their parent."""

from __future__ import annotations

import gc
import logging
import os
import signal
from threading import Event, Thread
from typing import Final

GRACE: Final = 10.0
"""Seconds that a process has to answer what it has once it was told to end."""


def log_plainly() -> None:
    """Log to the standard error, of libraries only what is wrong."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    for chatty in ("httpx", "alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def watch_parent(parent: int) -> None:
    """End this process once ``parent`` is gone: politely, then for certain.

    The kernel's own signal for a dead parent comes when the thread that started the child ends, too early in a server.
    """

    def watch() -> None:
        pause = Event()
        while os.getppid() == parent:
            pause.wait(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        pause.wait(2 * GRACE)
        os.kill(os.getpid(), signal.SIGKILL)

    Thread(target=watch, daemon=True, name="parent-watch").start()


def one_thread() -> None:
    """Batches are small and workers are many: threads inside a prediction cost more than they bring."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ.setdefault(name, "1")
    # The streaming engine takes longer to begin with a few rows than this one takes for all of them.
    os.environ.setdefault("POLARS_ENGINE_AFFINITY", "in-memory")


def loading() -> None:
    """Look for no garbage until ``loaded``: next to nothing of it is, and walking it is a tenth of the start."""
    gc.disable()


def loaded() -> None:
    """Look for garbage, but never in what is there now, which stays, and seldom: walking is a tenth of the work."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 50, 100)
