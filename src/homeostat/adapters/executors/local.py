"""Jobs as processes of this machine, each the leader of its own group and with its own log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

from homeostat.adapters.executors.orders import Order, give
from homeostat.domain.errors import BadRequest, Conflict
from homeostat.domain.refs import is_name
from homeostat.ports.executor import JobState

_GRACE: Final = 5.0
_GUARD: Final = "homeostat.adapters.executors.guard"
_KEPT: Final = 60.0


class LocalExecutor:
    """Runs ``python -m homeostat.app.job <arguments>``. Safe for threads.

    A job ends with what it started when it is cancelled, and when this process ends, however it ends. Jobs often come
    one after another, and importing takes a job longer than much of what it does: when one has ended, a process that
    has imported the libraries waits for the next, for a while.

    Args:
        environment: Variables for the jobs, over those of this process.
        logs: Folder of the logs, ``<name>.log`` each; a name used again appends.
        monotonic: Seconds since some moment.
        module: What a job runs.
        libraries: Modules that a job needs, imported beforehand.
        grace: Seconds between asking a job to stop and stopping it.
        kept: Seconds that a process waits for a job.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        logs: Path,
        monotonic: Callable[[], float],
        module: str = "homeostat.app.job",
        libraries: Sequence[str] = (),
        grace: float = _GRACE,
        kept: float = _KEPT,
    ) -> None:
        self._environment = dict(environment)
        self._logs = logs
        self._monotonic = monotonic
        self._module = module
        self._libraries = tuple(libraries)
        self._grace = grace
        self._kept = kept
        self._jobs: dict[str, subprocess.Popen[bytes]] = {}
        self._spare: subprocess.Popen[bytes] | None = None
        self._spare_until = 0.0
        self._lock = Lock()

    def submit(self, name: str, arguments: Sequence[str]) -> None:
        """Start a job; returns as soon as its process exists.

        Raises:
            Conflict: a job of this name runs.
            BadRequest: the name cannot name a log.
        """
        if not is_name(name):
            raise BadRequest(
                f"{name!r} cannot name a job", remedy="Use letters, digits, dot, dash, underscore"
            )
        with self._lock:
            if name in self._jobs and self._jobs[name].poll() is None:
                raise Conflict(f"a job {name} runs already", remedy="Wait for it, or cancel it")
            self._logs.mkdir(parents=True, exist_ok=True)
            self._jobs[name] = self._ordered(name, arguments)

    def states(self) -> dict[str, JobState]:
        """How each job stands; one that ended is told here once and then forgotten."""
        states: dict[str, JobState] = {}
        with self._lock:
            for name, process in list(self._jobs.items()):
                code = process.poll()
                states[name] = "running" if code is None else "succeeded" if code == 0 else "failed"
                if code is not None:
                    del self._jobs[name]
            if any(state != "running" for state in states.values()):
                with suppress(OSError):  # only speed is lost, while an end is told here alone
                    self._make_ready()
            if self._monotonic() >= self._spare_until:
                self._end_spare()
        return states

    def cancel(self, name: str) -> None:
        """Stop a job and its children: asked at first, stopped after the grace. It is told as failed."""
        with self._lock:
            process = self._jobs.get(name)
        if process is not None:
            self._stop([process])

    def close(self) -> None:
        """Stop every job."""
        with self._lock:
            processes = list(self._jobs.values())
            self._jobs.clear()
            self._end_spare()
        self._stop(processes)

    def log_of(self, name: str) -> Path:
        """The log of a job."""
        return self._logs / f"{name}.log"

    def _ordered(self, name: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """The process of a job: the one that waits, else one that starts now."""
        log = self.log_of(name)
        order = Order(self._module, arguments, log=str(log.absolute()))
        spare, self._spare = self._spare, None
        if spare is not None and give(spare, order):
            return spare
        with log.open("ab") as file:
            process = self._start((), file.fileno())
        give(process, order)
        return process

    def _start(self, libraries: Sequence[str], output: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", _GUARD, str(os.getpid()), *libraries],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self._environment, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )

    def _make_ready(self) -> None:
        if self._libraries and (self._spare is None or self._spare.poll() is not None):
            self._end_spare()
            self._spare = self._start(self._libraries, subprocess.DEVNULL)
        self._spare_until = self._monotonic() + self._kept

    def _end_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None and spare.stdin is not None:
            spare.stdin.close()
            self._stop([spare])

    def _stop(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        running = [process for process in processes if process.poll() is None]
        for process in running:
            _signal(process.pid, signal.SIGTERM)
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(self._grace)
            # For one that did not listen, and for children that outlived a parent who did.
            _signal(process.pid, signal.SIGKILL)
            process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
