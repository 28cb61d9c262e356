"""Processes that are to run for ever: what dies or hangs is started again, and in the end all are ended in order.

Whoever keeps them knows nothing of what they do. They watch for its own end themselves. One of them may say that it
goes on: a byte now and then where it said that it was ready. If it is silent for too long, it is killed. Time in which
nobody could have heard it, as while the whole machine slept, does not count.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Final

from homeostat.adapters.executors.orders import Order, give

if TYPE_CHECKING:
    from homeostat.ports.clock import Clock

CANNOT_RUN: Final = 2
"""The exit status of a child that would end the same way again."""

READY: Final = b"1"
"""What a child writes once it answers."""

STANDS_BY: Final = b"s"
"""What a child writes that is to answer once another process no longer does."""

SERVES: Final = b"w"
"""What a model server writes once it answers for all that is deployed."""

LACKS: Final = b"l"
"""What a model server writes that cannot load all that is deployed."""

PULSE: Final = b"."
"""What a child writes now and then to say that it goes on."""

_LISTEN: Final = 1.0
_GRACE: Final = 25.0
_STEADY: Final = 10.0
_SETTLED: Final = 1.0
_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 10.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Tell = Callable[[str], None]


@dataclass
class Child:
    """A process that is to run for ever, and how often in a row it ended soon.

    Args:
        environment: Variables that it has beyond those of its parent.
        descriptors: Open files that it keeps.
        silence: Seconds after which it is killed where it said that it goes on and says no more; of one child at most.
            None: it says nothing.
        spared: Whether a process that has imported everything is kept ready to take its place. Its command is then
            ``python -m MODULE ARGUMENTS``.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    descriptors: Sequence[int] = ()
    silence: float | None = None
    spared: bool = False
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    due: float = 0.0
    failures: int = 0

    @property
    def pid(self) -> int:
        """Its process id, 0 while it does not run."""
        return self.process.pid if self.process else 0


class Keeper:
    """Runs children until it is told to stop.

    Args:
        clock: For durations.
        tell: Where a line for the user goes.
    """

    def __init__(self, clock: Clock, tell: Tell) -> None:
        self._clock = clock
        self._tell = tell
        self._children: list[Child] = []
        self._stop = 0
        self._ready = 0
        self._silent: float | None = None  # of the child that says that it goes on; None: it said nothing yet
        self._listened = 0.0
        self._spare: subprocess.Popen[bytes] | None = None
        self._spare_due: float | None = None

    @property
    def pids(self) -> list[int]:
        """All processes that run now."""
        spare = [self._spare.pid] if self._spare is not None and self._spare.poll() is None else []
        return [child.pid for child in self._children if child.pid] + spare

    def changed(self) -> None:
        """A process began or ended."""

    def told_ready(self, count: int) -> None:
        """Children have said that they are ready, so many in all until now."""

    def told_standing_by(self) -> None:
        """A child has said that another process does its work for now."""

    def told_serving(self, *, whole: bool) -> None:
        """A model server has said that it answers, ``whole``: all that is deployed."""

    def turned(self) -> None:
        """What was due is started: asked at each turn, each second at least where a child says that it goes on."""

    def keep(self, declare: Callable[[int], Sequence[Child]]) -> int:
        """Run until a signal comes; returns the exit status.

        Args:
            declare: The children, given the descriptor to which they write a byte that says how they are.
        """
        ready, tell_ready = os.pipe()
        woken, wake = os.pipe()
        for descriptor in (woken, wake):
            os.set_blocking(descriptor, False)
        before = {number: signal.signal(number, self._signalled) for number in _SIGNALS}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        try:
            self._children = list(declare(tell_ready))
            while not self._stop:
                if (status := self._turn()) is not None:
                    return status
                readable, _, _ = select.select([woken, ready], [], [], self._pause())
                if woken in readable:
                    os.read(woken, 4096)
                if ready in readable:
                    self._hear(os.read(ready, 4096))
            self._tell("Stopping")
            return 0
        finally:
            self._end_children()
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            for descriptor in (ready, tell_ready, woken, wake):
                os.close(descriptor)

    def _hear(self, said: bytes) -> None:
        if PULSE in said:
            self._silent = 0.0
        if STANDS_BY in said:
            self.told_standing_by()
        if LACKS in said:
            self.told_serving(whole=False)
        if SERVES in said:
            self.told_serving(whole=True)
        if count := said.count(READY):
            self._ready += count
            self.told_ready(self._ready)
        if said.strip(PULSE):
            self._spare_due = self._spare_due or self._clock.monotonic() + _SETTLED

    def _listen(self, child: Child) -> None:
        """Kill a child that went on and is silent for too long."""
        assert child.silence is not None
        now = self._clock.monotonic()
        passed, self._listened = min(now - self._listened, 2 * _LISTEN), now
        if self._silent is None or child.process is None:
            return
        self._silent += passed
        if self._silent > child.silence:
            self._silent = None
            self._tell(f"{child.name} hangs: it said nothing for {child.silence:g} s; it is killed")
            child.process.kill()

    def _turn(self) -> int | None:
        """Start what is due; returns an exit status when there is no point in going on."""
        changed = False
        for child in self._children:
            if child.process is not None and (code := child.process.poll()) is not None:
                changed = True
                child.process = None
                self._silent = None if child.silence is not None else self._silent
                if code == CANNOT_RUN and not self._ready:
                    self._tell(f"{child.name} cannot run; stopping")
                    return 1
                self._plan_restart(child, _ended(code))
            if child.process is None and self._clock.monotonic() >= child.due:
                changed = True
                child.began = self._clock.monotonic()
                try:
                    child.process = self._replaced(child) or _start(child)
                except OSError as error:  # no memory or no process is to be had: the others go on meanwhile
                    self._plan_restart(child, f"could not be started: {error}")
            if child.silence is not None:
                self._listen(child)
        if self._spare_due is not None and self._clock.monotonic() >= self._spare_due:
            changed = True
            self._keep_spare()
        if changed:
            self.changed()
        self.turned()
        return None

    def _plan_restart(self, child: Child, what: str) -> None:
        now = self._clock.monotonic()
        child.failures = child.failures + 1 if now - child.began < _STEADY else 0
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (child.failures - 1)) if child.failures else 0.0
        child.due = now + pause
        when = f"in {pause:.2g} s" if pause else "now"
        self._tell(f"{child.name} {what}; it starts again {when}")

    def _keep_spare(self) -> None:
        """Have a process ready to take the place of a child that dies, once the first ones have settled."""
        self._spare_due = inf
        child = next((child for child in self._children if child.spared), None)
        if child is None or (self._spare is not None and self._spare.poll() is None):
            return
        try:
            self._spare = subprocess.Popen(
                [sys.executable, "-m", "homeostat.server.standby", "--parent", str(os.getpid())],
                stdin=subprocess.PIPE,
                env={**os.environ, **child.environment},
                pass_fds=child.descriptors,
                start_new_session=True,
            )
        except OSError:  # it only makes a restart faster
            self._spare_due = self._clock.monotonic() + _LONGEST_PAUSE

    def _replaced(self, child: Child) -> subprocess.Popen[bytes] | None:
        """The spare as this child, where there is one; another spare is then kept."""
        spare = self._spare
        if not child.spared or spare is None or spare.poll() is not None:
            return None
        self._spare = None
        if not give(spare, Order(child.command[2], child.command[3:], child.environment)):
            return None
        self._keep_spare()
        return spare

    def _pause(self) -> float | None:
        """Seconds until something is due; None: until a signal comes."""
        due = [child.due for child in self._children if child.process is None]
        due += [self._spare_due] if self._spare_due not in (None, inf) else []
        if any(child.silence is not None for child in self._children):
            due.append(self._clock.monotonic() + _LISTEN)
        return max(0.0, min(due) - self._clock.monotonic()) if due else None

    def _signalled(self, number: int, _frame: object) -> None:
        self._stop += 1

    def _end_children(self) -> None:
        """Ask all to end, the last declared first; a second signal, or the end of the grace, kills them."""
        running = [child.process for child in reversed(self._children) if child.process is not None]
        if self._spare is not None:
            assert self._spare.stdin is not None
            self._spare.stdin.close()
            running.append(self._spare)
        asked, until = self._stop, self._clock.monotonic() + _GRACE
        for process in running:
            process.terminate()
        while any(process.poll() is None for process in running):
            if self._stop > asked + 1 or self._clock.monotonic() > until:
                for process in running:
                    process.kill()
            self._clock.sleep(0.05)


def _start(child: Child) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        child.command,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **child.environment},
        pass_fds=child.descriptors,
        start_new_session=True,  # ctrl-C is for the parent, which ends the others in order
    )


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    names: Mapping[int, str] = {number.value: number.name for number in signal.Signals}
    return f"was killed by {names.get(-code, f'signal {-code}')}"
