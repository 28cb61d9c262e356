"""Which run is meant: ``hs.run`` begins one, and ``hs.log`` and its like go to the one that is active.

A run is active where it was begun, task or thread, and inside it. Where none is, as in a thread that loads data, it is
the only one that goes on, or of runs inside runs the innermost; of several beside each other none is guessed. Runs that
nobody ended end with the process.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from homeostat.adapters.clock import SystemClock
from homeostat.domain.errors import Conflict

if TYPE_CHECKING:
    from homeostat.sdk.tracking.run import Run

_current: ContextVar[Run | None] = ContextVar("homeostat_run", default=None)
_open: dict[Run, int] = {}  # with the thread that began it


def entered(run: Run) -> None:
    """Note a run that began."""
    if not _open:
        _watch()
    _open[run] = threading.get_ident()
    _current.set(run)


def left(run: Run) -> None:
    """Note that a run ended: the one around it is active again."""
    _open.pop(run, None)
    if _current.get() is run:
        _current.set(around())


def around() -> Run | None:
    """The run that this task or thread is in: of those it began, the innermost that goes on."""
    run = _going(_current.get())
    if run is None and _in_notebook():
        # A cell with ``await`` is a task of its own, and what it sets is gone with it: what its thread began is meant.
        mine = [one for one, thread in _open.items() if thread == threading.get_ident() and not one.entered]
        return mine[-1] if mine else None
    return run


def current() -> Run:
    """The active run.

    Raises:
        Conflict: there is none, or this is a thread that began none while several go on beside each other.
    """
    run = around()
    if run is not None:
        return run
    going = list(_open)
    outer = {_going(one) for run in going for one in (run.around, run.within)}
    innermost = [run for run in going if run not in outer]
    if not innermost:
        raise Conflict("no run is active", remedy="Begin one: with hs.run('my-experiment'): …")
    if len(innermost) > 1:
        raise Conflict(
            f"{len(innermost)} runs go on in other threads or tasks, and none was begun in this one",
            remedy="Say which one is meant: run.log(…) in place of hs.log(…)",
        )
    return innermost[0]


def deliver(within: float) -> None:
    """Wait until the server has what was logged to the runs that go on, if one takes it in time."""
    clock = SystemClock()
    until = clock.monotonic() + within
    for run in list(_open):
        run.deliver(max(until - clock.monotonic(), 0.0))


def log(values: Mapping[str, Any] | None = None, /, *, step: int | None = None, **named: Any) -> None:
    """Log values to the active run, as in ``hs.log(loss=0.3, step=i)``; see ``Run.log``."""
    run = _current.get()
    if run is None or run.state is not None:
        run = current()
    run.record({**values, **named} if values is not None else named, step)


def log_params(values: Mapping[str, Any] | None = None, /, **named: Any) -> None:
    """Log parameters to the active run; see ``Run.log_params``."""
    current().log_params(values, **named)


def log_input(
    data: Any, *, name: str = "", context: str = "training", tags: Mapping[str, Any] | None = None
) -> None:
    """Note what the active run reads; see ``Run.log_input``."""
    current().log_input(data, name=name, context=context, tags=tags)


def log_artifact(path: str | os.PathLike[str], to: str = "") -> None:
    """Keep a file or a folder with the active run; see ``Run.log_artifact``."""
    current().log_artifact(path, to)


def _in_notebook() -> bool:
    if "IPython" not in sys.modules:
        return False
    from homeostat.sdk.tracking.surroundings import interactive_shell

    return interactive_shell() is not None


def _going(run: Run | None) -> Run | None:
    """The run, or of those around it the innermost that goes on."""
    while run is not None and run.state is not None:
        run = run.around
    return run


def _watch() -> None:
    global _watching
    if not _watching:
        _watching = True
        atexit.register(_finish)
        os.register_at_fork(after_in_child=_forked)


_watching = False


def _finish() -> None:
    """End what nobody ended, as the program ended."""
    error = getattr(sys, "last_value", None) if not hasattr(sys, "ps1") else None
    for run in reversed(list(_open)):
        if isinstance(error, KeyboardInterrupt):
            run.finish("cancelled", error="interrupted from the keyboard")
        elif error is not None:
            run.finish("failed", error=f"{type(error).__name__}: {error}")
        else:
            run.finish()


def _forked() -> None:
    for run in _open:
        run.forked()
