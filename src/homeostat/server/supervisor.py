"""The parent of everything that ``homeostat up`` starts: it restarts what dies and ends what it started.

It holds the ports, so a restart of the control process refuses no connection: callers wait for the next one. It
knows nothing of models and opens no store, which is why it may be relied on. Should it be killed all the same, its
children watch for that and end; the next supervisor ends what is left of them before it begins.
"""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from homeostat.app.running import HomeLock, Process, Up, end, forget, note, noted
from homeostat.domain.errors import Conflict

if TYPE_CHECKING:
    from homeostat.app.settings import Settings
    from homeostat.ports.clock import Clock

CANNOT_RUN: Final = 2
"""The exit status of a child that would end the same way again."""

_GRACE: Final = 25.0
_LEFT_BEHIND: Final = 5.0
_STEADY: Final = 10.0
_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 10.0
_BACKLOG: Final = 1024
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Tell = Callable[[str], None]


@dataclass
class Child:
    """A process that is to run for ever, and how often in a row it ended soon."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    due: float = 0.0
    failures: int = 0

    @property
    def pid(self) -> int:
        """Its process id, 0 while it does not run."""
        return self.process.pid if self.process else 0


class Supervisor:
    """Runs a control process and model servers until it is told to stop.

    Args:
        settings: As the user gave them; ports of 0 are replaced by free ones.
        clock: For durations.
        tell: Where a line for the user goes.
    """

    def __init__(self, settings: Settings, clock: Clock, tell: Tell) -> None:
        self.settings = settings
        self._clock = clock
        self._tell = tell
        self._children: list[Child] = []
        self._stop = 0
        self._ready = False

    def run(self) -> int:
        """Run until a signal comes; returns the exit status.

        Raises:
            Conflict: this home is in use, or a port is.
        """
        lock = HomeLock(self.settings.home)
        if not lock.take():
            up = noted(self.settings.home)
            raise Conflict(
                f"Homeostat runs already for {self.settings.home}"
                + (f", at {up.server} (process {up.supervisor.pid})" if up else ""),
                remedy="Use it, stop it with homeostat down, or give this one another --home",
            )
        try:
            self._end_what_was_left()
            with self._ports() as (listening, _reserved):
                return self._supervise(listening)
        finally:
            lock.release()

    def _end_what_was_left(self) -> None:
        before = noted(self.settings.home)
        if before is not None and before.children:
            end(before.children, grace=_LEFT_BEHIND)

    @contextmanager
    def _ports(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        """The control port, listening, and the serve port, held for the workers that will share it."""
        settings = self.settings
        with (
            _bound(settings, "port", shared=False) as control,
            _bound(settings, "serve_port", shared=True) as serve,
        ):
            control.listen(_BACKLOG)
            ports = {"port": control.getsockname()[1], "serve_port": serve.getsockname()[1]}
            self.settings = dataclasses.replace(settings, server="", **ports)
            yield control, serve

    def _supervise(self, listening: socket.socket) -> int:
        ready, tell_ready = os.pipe()
        woken, wake = os.pipe()
        for descriptor in (woken, wake):
            os.set_blocking(descriptor, False)
        before = {number: signal.signal(number, self._signalled) for number in _SIGNALS}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        try:
            self._children = list(self._declared(listening.fileno(), tell_ready))
            keep = (listening.fileno(), tell_ready)
            while not self._stop:
                if (status := self._turn(keep)) is not None:
                    return status
                readable, _, _ = select.select([woken, ready], [], [], self._pause())
                if woken in readable:
                    os.read(woken, 4096)
                if ready in readable:
                    os.read(ready, 4096)
                    self._say_ready()
            self._tell("Stopping")
            return 0
        finally:
            self._end_children()
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            for descriptor in (ready, tell_ready, woken, wake):
                os.close(descriptor)
            forget(self.settings.home)

    def _declared(self, listening: int, ready: int) -> Iterator[Child]:
        python, parent = [sys.executable, "-m"], ["--parent", str(os.getpid())]
        descriptors = ["--listen-fd", str(listening), "--ready-fd", str(ready)]
        yield Child("control", [*python, "homeostat.server.control", *parent, *descriptors])
        for number in range(1, self.settings.workers + 1):
            name = f"w{number}"
            yield Child(f"worker {name}", [*python, "homeostat.server.dataplane", "--worker", name, *parent])

    def _turn(self, keep: Sequence[int]) -> int | None:
        """Start what is due; returns an exit status when there is no point in going on."""
        changed = False
        for child in self._children:
            if child.process is not None and (code := child.process.poll()) is not None:
                changed = True
                child.process = None
                if code == CANNOT_RUN and not self._ready:
                    self._tell(f"{child.name} cannot run; stopping")
                    return 1
                self._plan_restart(child, code)
            if child.process is None and self._clock.monotonic() >= child.due:
                changed = True
                child.process = self._start(child, keep if child.name == "control" else ())
                child.began = self._clock.monotonic()
        if changed:
            self._note()
        return None

    def _plan_restart(self, child: Child, code: int) -> None:
        now = self._clock.monotonic()
        child.failures = child.failures + 1 if now - child.began < _STEADY else 0
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (child.failures - 1)) if child.failures else 0.0
        child.due = now + pause
        when = f"in {pause:.2g} s" if pause else "now"
        self._tell(f"{child.name} {_ended(code)}; it starts again {when}")

    def _start(self, child: Child, keep: Sequence[int]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            child.command,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self.settings.environment()},
            pass_fds=keep,
            start_new_session=True,  # ctrl-C is for the supervisor, which ends the others in order
        )

    def _pause(self) -> float | None:
        """Seconds until something is due; None: until a signal comes."""
        due = [child.due for child in self._children if child.process is None]
        return max(0.0, min(due) - self._clock.monotonic()) if due else None

    def _say_ready(self) -> None:
        if not self._ready:
            self._ready = True
            settings = self.settings
            self._tell(
                f"Ready at {settings.server}, predictions at {self._predictions}; home {settings.home}"
            )
        else:
            self._tell("control is ready again")

    @property
    def _predictions(self) -> str:
        return f"{self.settings.server.rpartition(':')[0]}:{self.settings.serve_port}"

    def _note(self) -> None:
        mine = Process.of(os.getpid())
        assert mine is not None
        pids = [child.pid for child in self._children if child.pid]
        children = [process for pid in pids if (process := Process.of(pid)) is not None]
        up = Up(
            supervisor=mine, server=self.settings.server, predictions=self._predictions, children=children
        )
        note(self.settings.home, up)

    def _signalled(self, number: int, _frame: object) -> None:
        self._stop += 1

    def _end_children(self) -> None:
        """Ask all to end, model servers first in line; a second signal, or the end of the grace, kills them."""
        running = [child.process for child in reversed(self._children) if child.process is not None]
        asked, until = self._stop, self._clock.monotonic() + _GRACE
        for process in running:
            process.terminate()
        while any(process.poll() is None for process in running):
            if self._stop > asked + 1 or self._clock.monotonic() > until:
                for process in running:
                    process.kill()
            self._clock.sleep(0.05)


def _bound(settings: Settings, name: str, *, shared: bool) -> socket.socket:
    """A socket on the address that a setting names, which nobody else has; ``shared``: to be held with children."""
    host, port = settings.host, int(getattr(settings, name))
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # Sharing would let the model servers of another home in; a first bind without it finds them.
        probe = _bind(family, kind, address, share=False)
        if not shared:
            return probe
        address = probe.getsockname()
        probe.close()
        return _bind(family, kind, address, share=True)
    except OSError as error:
        flag = "--" + name.replace("_", "-")
        raise Conflict(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            remedy=f"Stop what listens there, or give another: homeostat up {flag} PORT (0 takes a free one)",
        ) from error


def _bind(family: int, kind: int, address: object, *, share: bool) -> socket.socket:
    made = socket.socket(family, kind)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(address)  # type: ignore[arg-type]  # as getaddrinfo gave it
    except OSError:
        made.close()
        raise
    return made


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    names: Mapping[int, str] = {number.value: number.name for number in signal.Signals}
    return f"was killed by {names.get(-code, f'signal {-code}')}"
