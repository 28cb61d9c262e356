"""Versions are made beside all else that goes on; each row is in one of them, whoever dies and whoever seals too."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import polars as pl
import pytest

from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.datasets import seal
from homeostat.app.deliveries import ingest
from homeostat.app.projects import load_project
from homeostat.app.reading import read
from homeostat.app.settings import Settings
from homeostat.domain import records
from homeostat.domain.errors import Busy
from tests.app.test_deliveries import PROJECT, lines, orders

PROCESS = """
import os, signal, sys
from pathlib import Path
import polars as pl
from homeostat.app.container import Container
from homeostat.app.datasets import seal
from homeostat.app.deliveries import ingest
from homeostat.app.settings import Settings

what, home, store, prefix = sys.argv[1:]
container = Container(Settings(home=Path(home), store=store))
if what == "die":
    append = container.tables.append
    def last(*arguments, **how):
        append(*arguments, **how)
        os.kill(os.getpid(), signal.SIGKILL)
    container.tables.append = last
print("ready", flush=True)
sys.stdin.readline()
for n in range(8):
    ingest(container, "orders", pl.DataFrame({"id": [f"{prefix}{n}"], "shop": ["a"], "total": [2.0]}))
    assert seal(container, "orders") is not None
"""


@pytest.fixture
def opened(tmp_path: Path, store_url: str) -> Iterator[Callable[[], Container]]:
    """Opens the store as another process would."""
    (tmp_path / "project.py").write_text(PROJECT)
    made: list[Container] = []

    def one() -> Container:
        made.append(Container(Settings(home=tmp_path / "home", store=store_url)))
        return made[-1]

    apply(one(), load_project(tmp_path))
    yield one
    for container in made:
        container.close()


@pytest.fixture
def container(opened: Callable[[], Container]) -> Container:
    return opened()


class Paused:
    """Tables that wait until told to go on: at the first ``append``, before or after it is done."""

    def __init__(self, container: Container, monkeypatch: pytest.MonkeyPatch, *, written: bool) -> None:
        self.reached, self.go = Event(), Event()
        self._append, self._written = container.tables.append, written
        monkeypatch.setattr(container.tables, "append", self.append)

    def append(self, name: str, rows: pl.DataFrame, *, base: int | None) -> int:
        first = not self.reached.is_set()
        if first and not self._written:
            self._wait()
        version = self._append(name, rows, base=base)
        if first and self._written:
            self._wait()
        return version

    def _wait(self) -> None:
        self.reached.set()
        assert self.go.wait(60)


def ids(container: Container, *, version: int | None = None) -> list[str]:
    return sorted(read(container, "orders", version=version).collect()["id"])


def check(container: Container, expected: set[str]) -> list[records.DatasetVersion]:
    """Each row is there once, each version is the one before and what it added, and nothing is without its version."""
    assert ids(container) == sorted(expected)
    versions = container.store.find(records.DatasetVersion, ("dataset", "=", "orders"), order=["version"])
    before: list[str] = []
    end = 0
    for number, version in enumerate(versions, 1):
        found = ids(container, version=number)
        assert set(before) < set(found)
        assert (version.version, version.rows, version.added) == (
            number,
            len(found),
            len(found) - len(before),
        )
        assert version.first_seq == end + 1
        before, end = found, version.last_seq
    events = container.ledger.find(kinds=["dataset.version-created"])
    assert len(events) == len(versions)
    return versions


def test_deliveries_are_taken_in_while_a_table_is_written(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(container, "orders", orders("1", "2"))
    slow = Paused(container, monkeypatch, written=False)
    with ThreadPoolExecutor(2) as pool:
        try:
            sealing = pool.submit(seal, container, "orders")
            assert slow.reached.wait(60)
            assert pool.submit(ingest, container, "orders", orders("3")).result(10).position == 2
            assert pool.submit(ingest, container, "lines", lines("7")).result(10).position == 1
            assert ids(container) == ["1", "2", "3"]
            assert not sealing.done()
        finally:
            slow.go.set()
        first = sealing.result(60)
    assert first is not None
    assert (first.version, first.rows, first.last_seq) == (1, 2, 1)
    assert ids(container, version=1) == ["1", "2"]
    assert container.store.count(records.Batch, ("dataset", "=", "orders")) == 1
    second = seal(container, "orders")
    assert second is not None
    assert (second.version, second.rows, second.added, second.first_seq) == (2, 3, 1, 2)
    record = container.store.get(records.Dataset, "orders")
    assert record is not None
    assert (record.position, record.version, record.rows) == (2, 2, 3)
    check(container, {"1", "2", "3"})


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("sealed", [0, 1])
def test_who_is_overtaken_by_another_process_takes_its_version(
    container: Container,
    opened: Callable[[], Container],
    monkeypatch: pytest.MonkeyPatch,
    written: bool,
    sealed: int,
) -> None:
    for n in range(sealed):
        ingest(container, "orders", orders(f"old{n}"))
        seal(container, "orders")
    ingest(container, "orders", orders("1", "2"))
    slow, other = Paused(container, monkeypatch, written=written), opened()
    with ThreadPoolExecutor(1) as pool:
        sealing = pool.submit(seal, container, "orders")
        try:
            assert slow.reached.wait(60)
            ingest(other, "orders", orders("3"))
            theirs = seal(other, "orders")
        finally:
            slow.go.set()
        assert sealing.result(60) == theirs
    assert theirs is not None
    assert theirs.added == 3
    ingest(other, "orders", orders("4"))
    seal(other, "orders")
    check(container, {"1", "2", "3", "4"} | {f"old{n}" for n in range(sealed)})


def test_two_threads_write_no_table_for_nobody(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(container, "orders", orders("1"))
    slow = Paused(container, monkeypatch, written=True)
    with ThreadPoolExecutor(2) as pool:
        sealing = pool.submit(seal, container, "orders")
        assert slow.reached.wait(60)
        second = pool.submit(seal, container, "orders")
        slow.go.set()
        assert sealing.result(60) == second.result(60)
    (version,) = check(container, {"1"})
    assert version.table_version == 0
    ingest(container, "orders", orders("2"))
    after = seal(container, "orders")
    assert after is not None
    assert after.table_version == 1  # so nothing had to be undone


def start(what: str, home: Path, store: str, prefix: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, what, str(home), store, prefix],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_that_seal_one_dataset_neither_lose_nor_double_a_row(
    container: Container, tmp_path: Path, store_url: str
) -> None:
    sealers = [start("seal", tmp_path / "home", store_url, prefix) for prefix in "ab"]
    for one in sealers:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in sealers:
        one.communicate("go\n", timeout=120)
        assert one.returncode == 0
    assert len(check(container, {f"{prefix}{n}" for prefix in "ab" for n in range(8)})) > 1
    assert container.store.count(records.Batch) == 0


def test_a_sealer_killed_between_table_and_record_leaves_nothing(
    container: Container, tmp_path: Path, store_url: str
) -> None:
    ingest(container, "orders", orders("1"))
    seal(container, "orders")
    killed = start("die", tmp_path / "home", store_url, "a")
    killed.communicate("go\n", timeout=120)
    assert killed.returncode == -signal.SIGKILL
    check(container, {"1", "a0"})
    ingest(container, "orders", orders("2"))
    second = seal(container, "orders")
    assert second is not None
    assert (second.version, second.added, second.first_seq, second.last_seq) == (2, 2, 2, 3)
    check(container, {"1", "2", "a0"})


def test_a_table_that_another_changes_is_tried_again(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(container, "orders", orders("1"))
    tables = container.tables
    append, failures = tables.append, 1000

    def between(*arguments: Any, **how: Any) -> int:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise Busy("another writer changed table orders")
        return append(*arguments, **how)

    monkeypatch.setattr(tables, "append", between)
    with pytest.raises(Busy, match="dataset/orders"):
        seal(container, "orders")
    assert check(container, {"1"}) == []
    failures = 1
    assert seal(container, "orders") is not None
    assert len(check(container, {"1"})) == 1
