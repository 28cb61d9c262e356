"""The same commands while `homeostat up` runs: they ask it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import httpx
import pytest

from homeostat.adapters.clock import SimulatedClock
from tests.cli.invoking import Shell
from tests.server.ups import Up, eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def up(homeostat: Shell) -> Iterator[Up]:
    homeostat("init")
    homeostat("apply")
    running = Up(homeostat.folder / ".homeostat").ready()
    yield running
    running.stop()


def test_a_day_with_a_server(homeostat: Shell, up: Up) -> None:
    said = homeostat("status").out
    assert f"Server: {up.note.server}" in said
    eventually(lambda: "worker/" in homeostat("status").out)
    queued = homeostat("train", "--no-wait", "--param", "trees=5").out
    assert queued.startswith("Queued run/")
    trained = homeostat("train", "--param", "trees=10", "--json").json
    assert trained["run"]["state"] == "succeeded"
    assert homeostat("status", "--json").json["versions"]
    assert "run/" in homeostat("lineage", f"model/churned@{trained['version']['version']}").out
    assert "The ledger holds" in homeostat("ledger", "verify").out
    assert "project.applied" in homeostat("ledger", "ls", "--kind", "project.applied").out
    assert homeostat("status", "--server", up.note.server, "--home", "elsewhere", "--json").json["projects"]
    assert not Path("elsewhere").exists()
    assert "Nothing to change" in homeostat("apply").out
    server = up.note.server
    assert f"Stopped {server}" in homeostat("down").out
    assert up.process.wait(100) == 0
    assert "Nothing runs" in homeostat("down").out


def test_a_training_whose_process_dies_is_followed_to_its_next_attempt(homeostat: Shell, up: Up) -> None:
    project, mark = homeostat.folder / "project.py", homeostat.folder / "died"
    dying = f"""
    import os, pathlib
    mark = pathlib.Path({str(mark)!r})
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), 9)
"""
    before, head, after = project.read_text().partition("def train(")
    first, _, rest = after.partition(":\n")
    project.write_text(f"{before}{head}{first}:{dying}{rest}")
    homeostat("apply")
    trained = homeostat("train", "--json").json
    assert mark.exists()
    assert (trained["run"]["state"], trained["run"]["attempt"]) == ("succeeded", 2)
    failed = homeostat("ledger", "ls", "--kind", "run.failed", "--json").json
    assert [event["body"]["again"] for event in failed] == [trained["run"]["id"]]


def test_a_training_says_that_it_waits_for_who_drives_the_clock(homeostat: Shell) -> None:
    homeostat("init")
    homeostat("apply")
    home = homeostat.folder / ".homeostat"
    SimulatedClock(home / "clock", datetime(2024, 1, 1, tzinfo=UTC)).close()
    up = Up(home, "--clock", "simulated").ready()
    ended, tick = Event(), f"{up.note.server}/tick"

    def drive() -> None:
        while not ended.wait(1):
            httpx.post(tick, timeout=100)

    try:
        with ThreadPoolExecutor(1) as pool:
            driver = pool.submit(drive)
            try:
                trained = homeostat("train")
            finally:
                ended.set()
            driver.result()
    finally:
        up.stop()
    assert f"is queued; the clock is simulated, so it begins at the next POST {tick}" in trained.err
    assert "Trained model/" in trained.out
