"""Who lives: by its process, whatever happens to the clock of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from homeostat.app.container import Container
from homeostat.app.leases import alive, hold, reap
from homeostat.app.running import Process
from homeostat.app.settings import Settings

HOUR = 3600.0


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(Settings(home=tmp_path))


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 1.0])
def test_a_clock_that_is_set_kills_nobody(
    container: Container, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    with container:
        lease = hold(container, "control", "control")
        noted = Process.of(os.getpid())
        assert noted is not None
        boot = psutil.boot_time()
        # What the kernel says of its own start is the clock's time less the time since then.
        monkeypatch.setattr("psutil._psplatform.boot_time", lambda: boot + jump)
        assert alive(container, lease)
        assert not reap(container)
        assert noted.find() is not None


def test_another_process_that_got_the_number_of_a_dead_one_is_not_it(container: Container) -> None:
    with container, subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        lease = hold(container, "worker", "worker/w1")
        dead = msgspec.structs.replace(
            lease, pid=other.pid, detail=lease.detail | {"born": lease.detail["born"] - 60}
        )
        assert alive(container, lease)
        assert not alive(container, dead)
