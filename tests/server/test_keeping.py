"""A child that hangs is ended and started again, and the control process says that it goes on."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from homeostat.adapters.clock import SystemClock
from homeostat.server.keeping import PULSE, Child, Keeper
from tests.server.ups import environment

HANGS_ONCE = """
import os, signal, sys, time
mark, ready = sys.argv[1], int(sys.argv[2])
if os.path.exists(mark):
    os.kill(os.getppid(), signal.SIGTERM)
else:
    open(mark, "w").close()
    os.write(ready, b"1.")
time.sleep(600)
"""


def test_what_went_on_and_is_silent_is_killed_and_started_again(tmp_path: Path) -> None:
    told: list[str] = []
    keeper = Keeper(SystemClock(), told.append)

    def declared(ready: int) -> list[Child]:
        command = [sys.executable, "-c", HANGS_ONCE, str(tmp_path / "mark"), str(ready)]
        return [Child("control", command, descriptors=(ready,), silence=0.2)]

    assert keeper.keep(declared) == 0
    assert told[0] == "control hangs: it said nothing for 0.2 s; it is killed"
    assert told[1].startswith("control was killed by SIGKILL; it starts again")


def test_a_process_that_cannot_be_had_is_tried_again_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    keeper = Keeper(SystemClock(), told.append)
    start, asked = subprocess.Popen, []

    def no_memory(command: list[str], **options: Any) -> Any:
        asked.append("spare" if "homeostat.server.standby" in command else "worker")
        if asked[-1] == "spare" or asked.count("worker") == 1:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return start(command, **options)

    monkeypatch.setattr("homeostat.server.keeping.subprocess.Popen", no_memory)
    monkeypatch.setattr("homeostat.server.keeping._SETTLED", 0.0)
    end = "import os, signal, time; time.sleep(0.5); os.kill(os.getppid(), signal.SIGTERM); time.sleep(600)"

    def declared(ready: int) -> list[Child]:
        os.write(ready, b"1")  # what was ready once has a spare
        return [Child("worker", [sys.executable, "-c", end], spared=True)]

    assert keeper.keep(declared) == 0
    what = "worker could not be started: [Errno 12] Cannot allocate memory"
    assert told[0] == f"{what}; it starts again in 0.25 s"
    assert asked.count("spare") == 1


def test_the_control_process_says_that_it_goes_on(tmp_path: Path) -> None:
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "homeostat.server.control", "--ready-fd", str(write)],
        env=environment(tmp_path / "home"),
        pass_fds=[write],
    )
    os.close(write)
    try:
        said = b""
        while PULSE not in said:
            more = os.read(read, 100)
            assert more, "it ended"
            said += more
        assert said.startswith(b"1")
    finally:
        process.kill()
        process.wait()
        os.close(read)
