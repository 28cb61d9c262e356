"""Clocks: what each tells, and that a simulated time is shared and never goes back."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeostat.adapters.clock import ManualClock, SimulatedClock, SystemClock
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.ports.clock import Clock

START = datetime(2013, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def test_the_system_clock_tells_the_machines_time() -> None:
    clock: Clock = SystemClock()
    before = datetime.now(UTC)
    assert before <= clock.now() <= clock.wall() <= datetime.now(UTC)
    assert clock.now().tzinfo is UTC
    began = clock.monotonic()
    clock.sleep(0.01)
    assert clock.monotonic() - began >= 0.01


def test_a_simulated_clock_begins_once(tmp_path: Path) -> None:
    path = tmp_path / "home" / "clock"
    with pytest.raises(NotFound, match="no simulated clock"):
        SimulatedClock(path)
    first: Clock = SimulatedClock(path, START)
    again = SimulatedClock(path, START + DAY)
    assert first.now() == again.now() == SimulatedClock(path).now() == START
    assert first.now().tzinfo is UTC
    assert path.stat().st_size == 8
    assert [entry.name for entry in path.parent.iterdir()] == ["clock"]


def test_a_simulated_clock_tells_real_time_apart_from_now(tmp_path: Path) -> None:
    clock = SimulatedClock(tmp_path / "clock", START)
    before = datetime.now(UTC)
    assert before <= clock.wall() <= datetime.now(UTC)
    began = clock.monotonic()
    clock.sleep(0.01)
    assert clock.monotonic() - began >= 0.01
    assert clock.now() == START


def test_a_simulated_clock_never_goes_back(tmp_path: Path) -> None:
    clock, other = SimulatedClock(tmp_path / "clock", START), SimulatedClock(tmp_path / "clock")
    clock.set(START + DAY)
    clock.set(START + DAY)
    for each in (clock, other):
        with pytest.raises(Conflict, match="cannot go back"):
            each.set(START + DAY - timedelta(microseconds=1))
        assert each.now() == START + DAY
    with pytest.raises(BadRequest, match="no time zone"):
        clock.set(datetime(2014, 1, 1))  # noqa: DTZ001


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.datetimes(datetime(1950, 1, 1), datetime(2200, 1, 1)), minutes=st.integers(-840, 840))  # noqa: DTZ001
def test_a_simulated_time_is_exact(tmp_path: Path, at: datetime, minutes: int) -> None:
    aware = at.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    path = tmp_path / f"{at.isoformat()}{minutes}"
    clock = SimulatedClock(path, aware)
    assert clock.now() == aware
    clock.close()


def test_other_processes_see_the_time_and_set_it(tmp_path: Path) -> None:
    clock = SimulatedClock(tmp_path / "clock", START)
    clock.set(START + DAY)
    script = (
        "import sys, datetime as d; from homeostat.adapters.clock import SimulatedClock;"
        "c = SimulatedClock(sys.argv[1]);"
        "sys.stdout.write(c.now().isoformat()); c.set(c.now() + d.timedelta(days=1))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "clock")], check=True, capture_output=True, text=True
    )
    assert told.stdout == (START + DAY).isoformat()
    assert clock.now() == START + 2 * DAY


def test_setters_that_race_leave_the_latest_time(tmp_path: Path) -> None:
    clocks = [SimulatedClock(tmp_path / "clock", START) for _ in range(4)]
    seen: list[datetime] = []
    done = threading.Event()

    def push(number: int) -> None:
        for step in range(50):
            try:
                clocks[number].set(START + timedelta(seconds=4 * step + number))
            except Conflict:
                continue

    def watch() -> None:
        while not done.is_set():
            seen.append(clocks[0].now())

    reader = threading.Thread(target=watch)
    reader.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(push, range(4)))
    done.set()
    reader.join()
    assert clocks[0].now() == START + timedelta(seconds=199)
    assert seen == sorted(seen)


def test_creators_that_race_agree(tmp_path: Path) -> None:
    together = threading.Barrier(6)

    def create(number: int) -> datetime:
        together.wait()
        return SimulatedClock(tmp_path / "clock", START + number * DAY).now()

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(create, range(6)))) == 1


def test_a_manual_clock_moves_only_when_moved() -> None:
    manual = ManualClock(START)
    clock: Clock = manual
    assert clock.now() == clock.wall() == START
    assert clock.monotonic() == 0
    clock.sleep(90)
    manual.advance(timedelta(hours=1))
    assert clock.now() == clock.wall() == START + timedelta(hours=1, seconds=90)
    assert clock.monotonic() == 3690
    manual.set(START + DAY)
    with pytest.raises(Conflict, match="cannot go back"):
        manual.set(START)
    assert clock.now() == START + DAY
