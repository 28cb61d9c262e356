"""The same commands while `homeostat up` runs: they ask it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
