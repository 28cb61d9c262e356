"""The clocks. This is the only module that reads the time.

``SystemClock`` tells the machine's time. ``SimulatedClock`` tells a world time that one process sets and all
others read, from eight bytes of a mapped file. ``ManualClock`` stands still until a test moves it.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from homeostat.domain.errors import BadRequest, Conflict, NotFound

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SIZE: Final = 8


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The machine's time, aware, UTC."""
        return datetime.now(UTC)

    def wall(self) -> datetime:
        """The same as ``now``."""
        return datetime.now(UTC)

    def milliseconds(self) -> int:
        """The same as whole milliseconds since 1970, at a third of the cost."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds from some origin, never going back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class SimulatedClock:
    """A world time shared by every process that opens the same file; the rest is the machine's.

    Args:
        path: The file. It is made when it is absent and ``start`` is given.
        start: The time a new file begins with; an existing file keeps its time.

    Raises:
        NotFound: there is no such file and no ``start``.
    """

    def __init__(self, path: Path | str, start: datetime | None = None) -> None:
        self._path = Path(path)
        self._system = SystemClock()
        self._setting = threading.Lock()
        if not self._path.exists():
            if start is None:
                raise NotFound(
                    f"there is no simulated clock at {self._path}",
                    remedy="Start it first, with the time to begin at",
                )
            _create(self._path, _micros(start))
        with self._path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)
        # A cast view reads and writes the eight aligned bytes at once: no reader sees half a change.
        self._cell = memoryview(self._map).cast("q")

    def now(self) -> datetime:
        """The simulated time, aware, UTC."""
        return _EPOCH + timedelta(microseconds=self._cell[0])

    def set(self, to: datetime) -> None:
        """Move the world's time forward, for every process.

        Raises:
            Conflict: ``to`` is before the time that it is.
        """
        micros = _micros(to)
        # The file lock keeps out other processes, the other lock the threads of this one.
        with self._setting, self._path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if micros < self._cell[0]:
                raise Conflict(
                    f"the simulated clock is at {self.now().isoformat()} and cannot go back to {to}",
                    remedy="Begin a new simulation in a new home to start earlier",
                )
            self._cell[0] = micros

    def wall(self) -> datetime:
        """The machine's time."""
        return self._system.wall()

    def monotonic(self) -> float:
        """Seconds of the machine from some origin."""
        return self._system.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait, in real time."""
        self._system.sleep(seconds)

    def close(self) -> None:
        """Give back the mapped file; the clock cannot be read after."""
        self._cell.release()
        self._map.close()


class ManualClock:
    """A clock for tests: every reading follows from ``start`` and what it was moved by. Sleeping moves it."""

    def __init__(self, start: datetime) -> None:
        self._start = self._now = _utc(start)

    def now(self) -> datetime:
        """The time it was moved to."""
        return self._now

    def wall(self) -> datetime:
        """The same as ``now``."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since ``start``."""
        return (self._now - self._start).total_seconds()

    def sleep(self, seconds: float) -> None:
        """Move on by ``seconds`` and return at once."""
        self.advance(timedelta(seconds=seconds))

    def advance(self, by: timedelta) -> None:
        """Move on."""
        self.set(self._now + by)

    def set(self, to: datetime) -> None:
        """Move to a time.

        Raises:
            Conflict: ``to`` is before the time that it is.
        """
        if _utc(to) < self._now:
            raise Conflict(f"the clock is at {self._now.isoformat()} and cannot go back to {to.isoformat()}")
        self._now = _utc(to)


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise BadRequest(
            f"{at.isoformat()} has no time zone", remedy="Give an aware datetime, as in tzinfo=UTC"
        )
    return at.astimezone(UTC)


def _micros(at: datetime) -> int:
    return (_utc(at) - _EPOCH) // _MICROSECOND


def _create(path: Path, micros: int) -> None:
    """Make the file in one step; of several processes that try, one wins and the others read its time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(struct.pack("q", micros))
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()
