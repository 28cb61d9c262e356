"""Who lives: by its process, whatever happens to the clock of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import psutil
import pytest

from homeostat.adapters.clock import SimulatedClock
from homeostat.app.alerts import alerts
from homeostat.app.container import Container
from homeostat.app.leases import (
    LOST,
    SILENCE,
    alive,
    here,
    hold,
    lease_of,
    reap,
    release,
    renewing,
    settle_dying,
    take_over,
    taken_at,
)
from homeostat.app.running import Process
from homeostat.app.settings import Settings
from homeostat.domain.records import Lease
from homeostat.ports.meta import Transaction
from tests.server.ups import eventually

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


def test_a_server_that_died_is_on_record_and_one_that_dies_often_is_a_ticket(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    clock = SimulatedClock(tmp_path / "home" / "clock", datetime(2024, 1, 1, tzinfo=UTC))
    with Container(Settings(home=tmp_path / "home", clock="simulated")) as container:
        for count in range(1, 4):
            for role, subject in (("worker", "worker/w1"), ("control", "control")):
                lease = hold(container, role, subject)  # type: ignore[arg-type] # both are roles
                with container.store.begin() as tx:
                    tx.put(msgspec.structs.replace(lease, boot="another"))
            assert len(reap(container)) == 2
            assert not reap(container)
            lost = container.ledger.find(subject="worker/w1", kinds=[LOST], limit=9)
            assert [event.body["pid"] for event in lost] == [os.getpid()] * count
            assert len(alerts(container)) == (2 if count == 3 else 0)
        assert {one.subject for one in alerts(container)} == {"worker/w1", "worker/control"}
        settle_dying(container)
        assert {one.state for one in alerts(container)} == {"open"}
        clock.set(clock.now() + timedelta(hours=2))
        settle_dying(container)
        assert {one.state for one in alerts(container)} == {"resolved"}
    clock.close()


def test_a_server_that_another_took_the_place_of_at_once_was_lost_all_the_same(container: Container) -> None:
    with container:
        lease = lease_of(container, "worker", "worker/w1")
        dead = msgspec.structs.replace(lease, pid=lease.pid + 1)
        for one in (dead, lease, lease):
            with container.store.begin() as tx:
                take_over(tx, container, one)
        lost = container.ledger.find(subject="worker/w1", kinds=[LOST], limit=9)
        assert [event.body["pid"] for event in lost] == [dead.pid]


def test_machines_of_one_name_do_not_take_each_other_for_dead(tmp_path: Path, postgres_url: str) -> None:
    with Container(Settings(home=tmp_path, store=postgres_url)) as container:
        lease = hold(container, "worker", "worker/w1")
        elsewhere = msgspec.structs.replace(lease, boot="another")
        silent = msgspec.structs.replace(elsewhere, heartbeat=lease.heartbeat - SILENCE)
        assert (alive(container, elsewhere), here(elsewhere)) == (True, False)
        assert not alive(container, silent)


def test_a_lease_that_is_renewed_while_it_is_looked_at_stays(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = hold(container, "worker", "worker/w1")
    silent = msgspec.structs.replace(lease, host="elsewhere", heartbeat=lease.heartbeat - 2 * SILENCE)
    with container.store.begin() as tx:
        tx.put(silent)
    begin = container.store.begin

    def late() -> AbstractContextManager[Transaction]:
        """What comes between the look and the transaction: its holder says that it lives."""
        monkeypatch.undo()
        with begin() as tx:
            tx.put(msgspec.structs.replace(silent, heartbeat=lease.heartbeat))
        return begin()

    monkeypatch.setattr(container.store, "begin", late)
    assert reap(container) == []
    assert container.store.get(Lease, lease.id) is not None


def test_a_job_says_that_it_lives_to_those_who_cannot_see_its_process(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeostat.app.leases._RENEWED", 0.01)
    with Container(Settings(home=tmp_path, store=postgres_url)) as container:
        lease = hold(container, "job", "run/1")

        def renewed() -> bool:
            found = container.store.get(Lease, lease.id)
            assert found is not None
            assert taken_at(found) == taken_at(lease)
            return found.heartbeat > lease.heartbeat

        with renewing(container, lease):
            eventually(renewed)
        release(container, lease)
        assert container.store.find(Lease) == []
