"""`homeostat up` heals what is killed, ends what it started, and can be started again whatever happened."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from homeostat.adapters.clock import ManualClock
from homeostat.app.settings import Settings
from homeostat.server.keeping import Child
from homeostat.server.supervisor import Supervisor
from tests.server.ups import Up, eventually

pytestmark = pytest.mark.slow

CONTROL = "homeostat.server.control"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("up") / "home").ready()
    yield running
    running.stop()


def test_it_answers_health_once_ready(up: Up) -> None:
    answer = up.get("/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"


def test_a_killed_control_process_is_replaced_and_refuses_nobody(up: Up) -> None:
    before = up.child(CONTROL)
    before.kill()
    before.wait(100)
    assert up.get("/health").status_code == 200  # waits for the next one
    assert up.child(CONTROL).pid != before.pid
    assert up.said("control was killed by SIGKILL; it starts again")


def test_a_killed_worker_is_replaced(up: Up) -> None:
    before = 0

    def another() -> int:
        try:
            pid = int(httpx.get(f"{up.note.predictions}/stats", timeout=60).json()["pid"])
        except httpx.TransportError:
            return 0
        return pid if pid != before else 0

    before = eventually(another)
    os.kill(before, signal.SIGKILL)
    after = eventually(another)
    eventually(lambda: [p for p in up.get("/status").json()["processes"] if p["pid"] == after])
    lost = up.get("/ledger?kind=process.lost").json()
    assert before in [event["body"]["pid"] for event in lost]


def test_a_home_is_used_once(up: Up) -> None:
    second = Up(up.home)
    assert second.process.wait(100) == 1
    assert second.said(f"Homeostat runs already for {up.home}, at {up.note.server}")
    assert second.said("homeostat down")
    assert not second.said("Traceback")


def test_ctrl_c_ends_everything_that_was_started(tmp_path: Path) -> None:
    up = Up(tmp_path / "home").ready()
    family = psutil.Process(up.process.pid).children(recursive=True)
    assert len(family) >= 2
    assert up.stop(signal.SIGINT) == 0
    assert not [process for process in family if process.is_running()]
    assert not (up.home / "run" / "up.json").exists()


def test_children_end_with_a_killed_supervisor_and_a_new_one_starts(tmp_path: Path) -> None:
    up = Up(tmp_path / "home").ready()
    family = psutil.Process(up.process.pid).children(recursive=True)
    up.process.kill()
    up.process.wait()
    again = Up(tmp_path / "home")
    try:
        eventually(lambda: again.log.read_text().count("Ready at") == 2 or again.process.poll() is not None)
        assert again.get("/health").status_code == 200
        assert not [process for process in family if process.is_running()]
    finally:
        assert again.stop() == 0


def test_children_end_with_a_killed_supervisor_by_themselves(tmp_path: Path) -> None:
    up = Up(tmp_path / "home").ready()
    family = psutil.Process(up.process.pid).children(recursive=True)
    up.process.kill()
    up.process.wait()
    _, alive = psutil.wait_procs(family, timeout=280)
    assert not alive


@pytest.mark.parametrize("setting", ["port", "serve_port"])
def test_a_port_in_use_is_told_with_the_remedy(tmp_path: Path, setting: str) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as another home's workers would
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flag = "--" + setting.replace("_", "-")
        up = Up(tmp_path / "home", flag, str(port))
        assert up.process.wait(100) == 1
    assert up.said(f"cannot listen on 127.0.0.1:{port}")
    assert up.said(f"homeostat up {flag} PORT")
    assert not up.said("Traceback")


def test_what_cannot_run_is_not_tried_again(tmp_path: Path) -> None:
    up = Up(tmp_path / "home", "--clock", "simulated")
    assert up.process.wait(100) == 1
    assert up.said("there is no simulated clock")
    assert up.said("cannot run; stopping")
    assert not up.said("starts again")
    assert not up.said("Traceback")


def test_what_ends_soon_waits_longer_each_time(tmp_path: Path, manual_clock: ManualClock) -> None:
    told: list[str] = []
    supervisor = Supervisor(Settings(home=tmp_path), manual_clock, told.append)
    child = Child("worker w1", ["false"])
    pauses = []
    for _ in range(8):
        child.began = manual_clock.monotonic()
        supervisor._plan_restart(child, "ended with status 1")
        pauses.append(child.due - manual_clock.monotonic())
    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 10, 10]
    child.began = manual_clock.monotonic()
    manual_clock.sleep(60)
    supervisor._plan_restart(child, "was killed by SIGKILL")
    assert child.due == manual_clock.monotonic()
    assert told[-1] == "worker w1 was killed by SIGKILL; it starts again now"


@pytest.fixture
def manual_clock() -> ManualClock:
    from datetime import UTC, datetime

    return ManualClock(datetime(2013, 1, 1, tzinfo=UTC))
