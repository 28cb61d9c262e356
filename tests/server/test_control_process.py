"""The control process alone: one at a time, a lease while it lives, and a clean end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from homeostat.app.container import Container
from homeostat.app.leases import hold
from homeostat.app.settings import Settings
from homeostat.domain.records import Lease
from tests.server.ups import environment, eventually


def control(home: Path, **settings: str) -> subprocess.Popen[bytes]:
    with (home.parent / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "homeostat.server.control"],
            env=environment(home, **settings),
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def test_it_holds_a_lease_while_it_lives(tmp_path: Path) -> None:
    process = control(tmp_path / "home")
    with Container(Settings(home=tmp_path / "home")) as container:
        lease = eventually(lambda: container.store.find(Lease))[0]
        assert (lease.role, lease.pid) == ("control", process.pid)
        assert lease.address.startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(100) == 0
        assert container.store.find(Lease) == []


def test_a_second_one_for_the_same_store_says_who_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import homeostat.server.control as module
    from homeostat.domain.errors import Conflict

    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    with Container(Settings(home=tmp_path / "home")) as container:
        first = control(tmp_path / "home")
        try:
            eventually(lambda: container.store.find(Lease))
            with pytest.raises(Conflict, match=f"process {first.pid}") as caught:
                module.take_place(container, "")
            assert "homeostat down" in caught.value.remedy
        finally:
            first.kill()
            first.wait()
        assert module.take_place(container, "").role == "control"  # the dead one does not count


def test_the_lease_of_a_process_that_ended_is_reaped(tmp_path: Path) -> None:
    from homeostat.server.control import take_place

    with Container(Settings(home=tmp_path / "home")) as container:
        lease = hold(container, "worker", "worker/w9")
        with container.store.begin() as tx:
            tx.put(Lease(**{f: getattr(lease, f) for f in lease.__struct_fields__} | {"boot": "another"}))
        mine = take_place(container, "http://127.0.0.1:1")
        assert [lease.id for lease in container.store.find(Lease)] == [mine.id]


def test_a_setting_that_cannot_be_is_told_without_a_traceback(tmp_path: Path) -> None:
    process = control(tmp_path / "home", HOMEOSTAT_PORT="many")
    assert process.wait(100) == 2
    said = (tmp_path / "log").read_text()
    assert "HOMEOSTAT_PORT" in said
    assert "Traceback" not in said
