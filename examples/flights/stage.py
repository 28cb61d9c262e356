"""Where the demo plays: a home of its own, the servers it starts there, and how they end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from homeostat.adapters.clock import SimulatedClock, SystemClock
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.projects import load_project
from homeostat.app.running import running
from homeostat.app.settings import Settings
from homeostat.domain.errors import Conflict, HomeostatError, StoreUnavailable
from homeostat.sdk.client import Client

MARK: Final = "homeostat-demo.txt"
PROJECT: Final = {name: Path(__file__).with_name(name) for name in ("project.py", "faults.py")}
_PATIENCE: Final = 60.0
_GRACE: Final = 40.0


class Stage:
    """A fresh home with the flights project applied, and Homeostat running on it under a simulated clock.

    Args:
        home: Its folder; wiped if an earlier demo made it.
        start: The first time that the simulated clock shows.
        project: The files of the project that is applied, by their names there.
        settings: More settings, by name.
    """

    def __init__(
        self, home: Path, start: datetime, project: Mapping[str, Path] = PROJECT, **settings: Any
    ) -> None:
        self.home = home.absolute()
        self.clock = SystemClock()
        self.settings = Settings(home=self.home, clock="simulated", port=0, serve_port=0, **settings)
        self._start = start
        self._files = project
        self._process: subprocess.Popen[bytes] | None = None
        self._kept = False
        self.container: Container
        self.simulated: SimulatedClock
        self.client: Client

    def __enter__(self) -> Self:
        self._clear()
        self.simulated = SimulatedClock(self.home / "clock", self._start)
        self.container = Container(self.settings)
        try:
            self._copy_project()
            self._start_servers()
            declared = load_project(self.project)  # it imports for as long as they take to start
            self.client = Client(self._ready())
            apply(self.container, declared)
        except BaseException:
            with uninterrupted():
                self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with uninterrupted():
            self.client.close()
            self._end()

    def stop(self) -> None:
        """End the servers; done again, it does nothing."""
        if self._process is not None and not self._kept:
            self._process.terminate()
            try:
                self._process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def keep(self) -> None:
        """Leave the servers running when this ends."""
        self._kept = True

    @property
    def pid(self) -> int:
        """The process that started all others."""
        assert self._process is not None
        return self._process.pid

    def revive(self) -> None:
        """Start the servers again where the process that started all others has ended."""
        if self._process is not None and self._process.poll() is not None:
            self.client.close()
            self._start_servers()
            self.client = Client(self._ready())

    @property
    def log(self) -> Path:
        """What the servers said."""
        return self.home / "logs" / "up.log"

    def _clear(self) -> None:
        up = running(self.home)
        if up is not None:
            raise Conflict(
                f"a demo still runs in {self.home}, at {up.server}",
                remedy=f"Stop it with homeostat down --home {self.home}, or give this one another --home",
            )
        if self.home.exists() and any(self.home.iterdir()):
            if not (self.home / MARK).is_file():
                raise Conflict(
                    f"{self.home} is no home of a demo, so it is not wiped",
                    remedy="Give an empty folder, or one that does not exist, with --home",
                )
            shutil.rmtree(self.home)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        (self.home / MARK).write_text("Made by homeostat demo, which wipes this folder when it runs again.\n")

    @property
    def project(self) -> Path:
        """The folder of the project that is applied."""
        return self.home / "flights"

    def _copy_project(self) -> None:
        """The project's own files in the home: the demo around them is no part of it."""
        self.project.mkdir()
        for name, file in self._files.items():
            shutil.copy(file, self.project / name)

    def _start_servers(self) -> None:
        with self.log.open("ab") as log, uninterrupted():
            self._process = subprocess.Popen(
                [sys.executable, "-m", "homeostat", "up"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment()},
                start_new_session=True,  # ctrl-C is for the demo, which ends the servers in order
            )

    def _ready(self) -> str:
        """The URL of the control API, once it answers."""
        assert self._process is not None
        until = self.clock.monotonic() + _PATIENCE
        while self.clock.monotonic() < until and self._process.poll() is None:
            up = running(self.home)
            if up is not None and self._answers(up.server):
                return up.server
            self.clock.sleep(0.05)
        raise HomeostatError("homeostat up did not get ready", remedy=f"Read {self.log}")

    def _environment(self) -> dict[str, str]:
        """The settings, but for the server's URL, which follows from the port that is taken."""
        return {n: v for n, v in self.settings.environment().items() if n != "HOMEOSTAT_SERVER"}

    def _answers(self, server: str) -> bool:
        try:
            with Client(server, patience=0) as client:
                client.health()
        except StoreUnavailable:
            return False
        return True

    def _end(self) -> None:
        self.stop()
        self.container.close()
        self.simulated.close()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off a ctrl-C, or a SIGTERM, until what is done within is done: servers begin and end as a whole."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no signal interrupts it
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
