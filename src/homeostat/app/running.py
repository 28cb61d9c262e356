"""Who runs ``homeostat up`` in a home: a lock that the kernel lets go with its holder, and a note beside it.

The note says where to reach what runs and which processes belong to it, so that whatever a killed supervisor left
behind can be told from other processes and ended.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec
import psutil

from homeostat.app.settings import Settings


def born(process: psutil.Process) -> float:
    """When a process began, in seconds since the machine did: no change of its clock makes it another."""
    return float(process.create_time() - psutil.boot_time())


class Process(msgspec.Struct, frozen=True):
    """A process that no other one can be taken for: a pid comes again, with another start."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this pid now."""
        try:
            return cls(pid, born(psutil.Process(pid)))
        except psutil.Error:
            return None

    def find(self) -> psutil.Process | None:
        """The process itself, None when it has ended."""
        try:
            found = psutil.Process(self.pid)
            same = abs(born(found) - self.started) < 1.0 and found.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
        return found if same else None


class Up(msgspec.Struct, frozen=True, kw_only=True):
    """A running ``homeostat up``."""

    supervisor: Process
    server: str
    predictions: str
    children: list[Process] = []


class HomeLock:
    """At most one supervisor a home. Held until ``release`` or the end of this process, however it ends."""

    def __init__(self, home: Path) -> None:
        self._path = _folder(home) / "up.lock"
        self._file: IO[bytes] | None = None

    def take(self) -> bool:
        """Take the lock; False when another process has it."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Let go."""
        if self._file is not None:
            self._file.close()
            self._file = None


def noted(home: Path) -> Up | None:
    """What the last supervisor wrote down, whether it still runs or not."""
    try:
        return msgspec.json.decode((_folder(home) / "up.json").read_bytes(), type=Up)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def running(home: Path) -> Up | None:
    """The ``homeostat up`` of this home, None when there is none."""
    up = noted(home)
    return up if up is not None and up.supervisor.find() is not None else None


def named_server(settings: Settings) -> str:
    """The server that the settings name; empty when they name none, and it follows from host and port."""
    follows = dataclasses.replace(settings, server="").server
    return settings.server if settings.server != follows else ""


def server_of(settings: Settings) -> str:
    """The server to talk to: the one that is named, else the one that runs for the home, else where one would be."""
    if named := named_server(settings):
        return named
    up = running(settings.home)
    return up.server if up else settings.server


def following(settings: Settings) -> Callable[[], str]:
    """As ``server_of``, to be asked again and again: while none runs, the one that ran last is meant."""
    last = ""

    def find() -> str:
        nonlocal last
        up = running(settings.home)
        last = named_server(settings) or (up.server if up else last) or settings.server
        return last

    return find


def note(home: Path, up: Up) -> None:
    """Write down what runs; a reader sees the old note or the new one."""
    path = _folder(home) / "up.json"
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_bytes(msgspec.json.encode(up))
    fresh.rename(path)


def forget(home: Path) -> None:
    """Remove the note."""
    (_folder(home) / "up.json").unlink(missing_ok=True)


def end(processes: Sequence[Process], *, grace: float) -> None:
    """End processes that are no children of this one: asked at first, stopped after ``grace`` seconds."""
    found = [process for one in processes if (process := one.find()) is not None]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        _, found = psutil.wait_procs(found, timeout=grace)


def _folder(home: Path) -> Path:
    return home / "run"
