"""`homeostat up` as a process of its own, for tests to kill parts of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx
import psutil

from homeostat.app.running import Up as Note
from homeostat.app.running import noted

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


def environment(home: Path, **settings: str) -> dict[str, str]:
    """The variables under which every command of a test uses `home` and free ports."""
    own = {"HOMEOSTAT_HOME": str(home), "HOMEOSTAT_PORT": "0", "HOMEOSTAT_SERVE_PORT": "0"}
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HOMEOSTAT_")}
    return clean | {"PYTHONPATH": str(ROOT / "src")} | own | settings


def eventually(question: Callable[[], T | None], *, within: float = 120.0) -> T:
    """The first answer that counts as true."""
    until = time.monotonic() + within
    while not (answer := question()):
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.05)
    return answer


class Up:
    """A running `homeostat up`; `log` is what it said."""

    def __init__(self, home: Path, *flags: str, **settings: str) -> None:
        self.home = home
        self.log = home.parent / f"{home.name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "homeostat", "up", *flags],
                env=environment(home, **settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ready(self) -> Up:
        """Wait until it says so."""
        eventually(lambda: self.process.poll() is not None or self.said("Ready at"))
        assert self.process.poll() is None, self.log.read_text()
        return self

    def said(self, text: str) -> bool:
        """Whether it has said `text`."""
        return text in self.log.read_text()

    @property
    def note(self) -> Note:
        """What it wrote down about itself."""
        note = noted(self.home)
        assert note is not None
        return note

    def child(self, module: str) -> psutil.Process:
        """The running child that is `python -m module`."""

        def find() -> psutil.Process | None:
            for child in psutil.Process(self.process.pid).children():
                try:
                    if module in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                        return child
                except psutil.NoSuchProcess:
                    continue
            return None

        return eventually(find)

    def get(self, path: str) -> httpx.Response:
        """Ask the control API; a restart is waited for."""
        return httpx.get(self.note.server + path, timeout=100)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(100)
