"""The control process alone: one at a time, a lease while it lives, and a clean end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest

from homeostat.adapters.clock import SimulatedClock
from homeostat.app.container import Container
from homeostat.app.leases import LOST, hold
from homeostat.app.settings import Settings
from homeostat.domain.errors import Conflict, StoreUnavailable
from homeostat.domain.records import Lease
from homeostat.server import control as control_process
from homeostat.server import succession
from homeostat.server.telemetry import Telemetry
from tests.server.ups import Up, environment, eventually


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
    monkeypatch.setattr(succession, "_PATIENCE", 0.3)
    with Container(Settings(home=tmp_path / "home")) as container:
        first = control(tmp_path / "home")
        try:
            eventually(lambda: container.store.find(Lease))
            with pytest.raises(Conflict, match=f"process {first.pid}") as caught:
                succession.await_place(container, "")
            assert "homeostat down" in caught.value.remedy
        finally:
            first.kill()
            first.wait()
        mine = succession.await_place(container, "")
        assert mine is not None  # the dead one does not count
        (lost,) = container.ledger.find(kinds=[LOST], limit=9)
        assert lost.body["pid"] == first.pid
        assert mine.role == "control"


def test_the_lease_of_a_process_that_ended_is_reaped(tmp_path: Path) -> None:
    with Container(Settings(home=tmp_path / "home")) as container:
        lease = hold(container, "worker", "worker/w9")
        with container.store.begin() as tx:
            tx.put(Lease(**{f: getattr(lease, f) for f in lease.__struct_fields__} | {"boot": "another"}))
        mine = succession.take(container, "http://127.0.0.1:1")
        assert mine is not None
        assert [lease.id for lease in container.store.find(Lease)] == [mine.id]


def test_of_a_store_for_many_machines_another_takes_the_place_of_one_that_died(
    tmp_path: Path, postgres_url: str
) -> None:
    first = control(tmp_path / "here", HOMEOSTAT_STORE=postgres_url)
    second = None

    def controllers() -> list[int]:
        return [one.pid for one in container.store.find(Lease, ("role", "=", "control"))]

    with Container(Settings(home=tmp_path / "here", store=postgres_url)) as container:
        try:
            eventually(lambda: container.store.find(Lease, ("pid", "=", first.pid)))
            second = Up(tmp_path / "there", HOMEOSTAT_STORE=postgres_url)
            eventually(lambda: second.said("Standing by at"))
            waits = second.get("/health")
            assert (waits.status_code, waits.headers["retry-after"]) == (503, "1")
            assert waits.json()["error"]["code"] == "standing_by"
            assert f"process {first.pid} on" in waits.json()["error"]["message"]
            assert controllers() == [first.pid]
            assert not second.said("Ready at")
            first.kill()
            first.wait()
            second.ready()
            assert second.get("/health").status_code == 200
            assert controllers() == [second.child("homeostat.server.control").pid]
            assert second.stop() == 0
            assert controllers() == []
        finally:
            first.kill()
            first.wait()
            if second is not None:
                second.stop()


def test_one_that_was_silent_and_lost_its_place_knows(tmp_path: Path) -> None:
    with Container(Settings(home=tmp_path / "home")) as container:
        mine = succession.take(container, "http://127.0.0.1:1")
        assert mine is not None
        assert succession.keep(container, mine)
        with container.store.begin() as tx:  # another machine took it: this one was silent for too long
            tx.put(msgspec.structs.replace(mine, host="elsewhere", heartbeat=container.clock.wall()))
        assert not succession.keep(container, mine)
        assert succession.take(container, "http://127.0.0.1:1") is None
        other = succession.holder(container)
        assert other is not None
        assert other.host == "elsewhere"
        late = container.clock.wall() - timedelta(minutes=2)
        with container.store.begin() as tx:
            tx.put(msgspec.structs.replace(other, heartbeat=late))
        assert succession.take(container, "http://127.0.0.1:1") is not None


def test_one_that_lost_its_place_turns_no_more_before_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Exception | bool] = [ValueError("a heartbeat may fail in any way"), True, False]
    ended: list[bool] = []
    unused: Any = None

    def keep(container: Container, lease: Lease) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with Container(Settings(home=tmp_path / "home")) as container:
        background = control_process.Background(container, unused, unused)
        monkeypatch.setattr(succession, "keep", keep)
        monkeypatch.setattr(control_process, "_HEARTBEAT", 0.001)
        monkeypatch.setattr(os, "kill", lambda pid, number: ended.append(background._stopped.is_set()))
        background._beat()
    assert (answers, ended) == ([], [True])


def test_one_that_stands_by_answers_from_memory_while_the_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Container(Settings(home=tmp_path / "home")) as container:
        mine = succession.take(container, "http://127.0.0.1:1")
        assert mine is not None
        with container.store.begin() as tx:
            tx.put(msgspec.structs.replace(mine, host="elsewhere", heartbeat=container.clock.wall()))
        waits = succession.StandBy(container, "http://127.0.0.1:2")
        assert not waits.look()

        def away(*asked: object) -> None:
            raise StoreUnavailable("it is away")

        monkeypatch.setattr(container.store, "get", away)
        monkeypatch.setattr(container.store, "begin", away)
        assert not waits.look()

        async def once() -> httpx.Response:
            app: Any = waits
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://host"
            ) as client:
                return await client.get("/health")

        answer = asyncio.run(once())
    assert answer.status_code == 503
    assert f"process {mine.pid} on elsewhere" in answer.json()["error"]["message"]


def test_a_setting_that_cannot_be_is_told_without_a_traceback(tmp_path: Path) -> None:
    process = control(tmp_path / "home", HOMEOSTAT_PORT="many")
    assert process.wait(100) == 2
    said = (tmp_path / "log").read_text()
    assert "HOMEOSTAT_PORT" in said
    assert "Traceback" not in said


def test_one_whose_controller_stands_still_does_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it says so no more, and who keeps it ends it."""
    monkeypatch.setattr(control_process, "_LONGEST_TURN", 0.05)
    turning, turned = Event(), Event()

    class Stands:
        def tick(self) -> None:
            turning.set()
            turned.wait(100)

    with Container(Settings(home=tmp_path / "home")) as container:
        lease = succession.take(container, "http://127.0.0.1:1")
        assert lease is not None
        native: Any = SimpleNamespace(controller=Stands(), telemetry=Telemetry(container))
        background = control_process.Background(container, lambda: native, lease)
        assert background.goes_on()
        background.start()
        try:
            assert turning.wait(100)
            eventually(lambda: not background.goes_on())
            turned.set()
            eventually(background.goes_on)
        finally:
            turned.set()
            background.stop()


def test_it_answers_before_it_has_imported_what_works_with_data(tmp_path: Path) -> None:
    """Under a simulated clock nothing turns, so nothing is imported that nobody asked for."""
    code = (
        "import sys; sys.argv = ['control'];"
        "from homeostat.server import control; control.main();"
        "print(*sys.modules)"
    )
    loaded = []
    for path in ("/health", "/status"):
        home = tmp_path / path.strip("/")
        SimulatedClock(home / "clock", datetime(2013, 1, 1, tzinfo=UTC)).close()
        with (tmp_path / "out").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                env=environment(home, HOMEOSTAT_CLOCK="simulated"),
                stdout=out,
            )
        with Container(Settings(home=home)) as container:
            address = eventually(lambda: container.store.find(Lease))[0].address
        assert httpx.get(f"{address}{path}", timeout=100).status_code == 200
        made = httpx.post(f"{address}/api/2.0/mlflow/experiments/create", json={"name": "a"}, timeout=100)
        assert made.status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(100) == 0
        loaded.append(set((tmp_path / "out").read_text().split()))
    assert "sqlalchemy" in loaded[0]
    assert not {"numpy", "polars", "sklearn", "homeostat.app.controller"} & loaded[0]
    assert {"polars", "homeostat.app.controller"} <= loaded[1]
