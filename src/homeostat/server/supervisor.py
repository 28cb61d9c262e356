"""The parent of everything that ``homeostat up`` starts: it restarts what dies or hangs, and ends what it started.

It holds the ports, so a restart of the control process refuses no connection: callers wait for the next one. It
knows nothing of models and opens no store, which is why it may be relied on. Should it be killed all the same, its
children watch for that and end; the next supervisor ends what is left of them before it begins.
"""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Final

from homeostat.app.running import HomeLock, Process, Up, end, forget, note, noted
from homeostat.domain.errors import Conflict
from homeostat.server.keeping import Child, Keeper, Tell

if TYPE_CHECKING:
    from homeostat.app.settings import Settings
    from homeostat.ports.clock import Clock

_LEFT_BEHIND: Final = 5.0
_BACKLOG: Final = 1024
_SILENCE: Final = 120.0
_PATIENCE: Final = 15.0  # with model servers, until it is said that they are not there yet


class Supervisor(Keeper):
    """Runs a control process and model servers until it is told to stop.

    Args:
        settings: As the user gave them; ports of 0 are replaced by free ones.
        clock: For durations.
        tell: Where a line for the user goes.
    """

    def __init__(self, settings: Settings, clock: Clock, tell: Tell) -> None:
        super().__init__(clock, tell)
        self.settings = settings
        self._asked_at: float | None = None  # since when control answers, until it is said that all is ready
        self._served = self._lacks = False
        self._patience = _PATIENCE
        self._unwritten = False

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
            bound(settings, "port", shared=False) as control,
            bound(settings, "serve_port", shared=True) as serve,
        ):
            control.listen(_BACKLOG)
            ports = {"port": control.getsockname()[1], "serve_port": serve.getsockname()[1]}
            self.settings = dataclasses.replace(settings, server="", **ports)
            yield control, serve

    def _supervise(self, listening: socket.socket) -> int:
        try:
            return self.keep(lambda ready: list(self._declared(listening.fileno(), ready)))
        finally:
            forget(self.settings.home)

    def _declared(self, listening: int, ready: int) -> Iterator[Child]:
        python, parent = [sys.executable, "-m"], ["--parent", str(os.getpid())]
        environment = self.settings.environment()
        descriptors = ["--listen-fd", str(listening), "--ready-fd", str(ready)]
        control = [*python, "homeostat.server.control", *parent, *descriptors]
        yield Child("control", control, environment, (listening, ready), silence=_SILENCE)
        for number in range(1, self.settings.workers + 1):
            name = f"w{number}"
            worker = [*python, "homeostat.server.worker", "--worker", name, *parent]
            worker += ["--ready-fd", str(ready)]
            yield Child(f"worker {name}", worker, environment, (ready,), spared=True)

    def told_ready(self, count: int) -> None:
        """The control process is ready; all is once a model server is too, for they share a port."""
        if count == 1:
            self._asked_at = self._clock.monotonic()
            self._tell_ready()
        else:
            self._tell("control is ready again")

    def told_serving(self, *, whole: bool) -> None:
        """A model server answers."""
        if whole:
            self._served, self._lacks = True, False
            self._tell_ready()
        elif not self._lacks:  # each server says so, and each again that is begun anew
            self._lacks = True
            self._tell(
                "A model server cannot load all that is deployed, and tries on: homeostat status says why"
            )

    def turned(self) -> None:
        """Say once that model servers take long, and write down what could not be."""
        if self._unwritten:
            self.changed()
        if self._asked_at is not None and self._clock.monotonic() - self._asked_at > self._patience:
            self._patience = inf
            self._tell(
                f"Control answers at {self.settings.server}, but no model server answers yet for all that is deployed: "
                f"it loads, or cannot; homeostat status says more. Predictions will be at {self._predictions}"
            )

    def _tell_ready(self) -> None:
        if self._served and self._asked_at is not None:
            self._asked_at = None
            settings = self.settings
            self._tell(
                f"Ready at {settings.server}, predictions at {self._predictions}; home {settings.home}"
            )

    def told_standing_by(self) -> None:
        """The control process of another machine does the work of the store."""
        settings = self.settings
        self._tell(
            f"Standing by at {settings.server}: the homeostat up of another machine controls this store, and this one "
            f"does once that one ends; predictions at {self._predictions}; home {settings.home}"
        )

    @property
    def _predictions(self) -> str:
        return f"{self.settings.server.rpartition(':')[0]}:{self.settings.serve_port}"

    def changed(self) -> None:
        """Write down what runs."""
        mine = Process.of(os.getpid())
        assert mine is not None
        children = [process for pid in self.pids if (process := Process.of(pid)) is not None]
        up = Up(
            supervisor=mine, server=self.settings.server, predictions=self._predictions, children=children
        )
        try:
            note(self.settings.home, up)
        except OSError as error:
            # Such as a full disk: what runs goes on, and it is written as soon as it can be.
            if not self._unwritten:
                self._tell(f"homeostat down and others will not find what runs here: {error}")
            self._unwritten = True
        else:
            self._unwritten = False


def bound(
    settings: Settings, name: str, *, shared: bool, how: str = "homeostat up {flag} PORT"
) -> socket.socket:
    """A socket on the address that a setting names, which nobody else has.

    Args:
        shared: Whether it is to be held with children.
        how: The command that takes another port.

    Raises:
        Conflict: somebody else has it.
    """
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
            remedy=f"Stop what listens there, or give another: {how.format(flag=flag)} (0 takes a free one)",
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
