"""A disk that fills up: told before it is full, spared further trainings, and nothing is lost once it is full."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from homeostat.app import explain
from homeostat.app.alerts import alerts
from homeostat.app.code import find_model
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.deliveries import ingest
from homeostat.app.queueing import next_up
from homeostat.app.settings import Settings
from homeostat.app.space import LEAST
from homeostat.app.training import execute, submit
from homeostat.app.triggers import evaluate
from homeostat.domain.errors import HomeostatError, StoreUnavailable
from homeostat.domain.records import Dataset, Run
from tests.app.churning import declare
from tests.app.idling import Idle

RULE = 'retrain=hs.when(hs.every("1m"), cooldown="1m", check_every="1m"),'


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home")) as made:
        declare(made, tmp_path / "project", RULE)
        yield made


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Says how much is left on every disk."""
    return lambda free: monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, free))


def test_trainings_wait_for_space(container: Container, left: Callable[[int], None]) -> None:
    unnamed = container.blobs.put(b"of nobody")
    for file in (container.settings.home / "blobs").rglob("*"):
        if file.is_file():
            _age(file)
    run = submit(container, "churn", reason="asked for")
    left(LEAST - 1)
    controller = Controller(container)
    did = controller.tick().did
    assert any("nearly full" in line for line in did)
    (page,) = alerts(container)
    assert (page.severity, page.state) == ("page", "open")
    assert "255 MiB are left" in page.summary
    assert unnamed not in {blob.digest for blob in container.blobs.stored()}
    assert next_up(container, {}) == []
    assert not any("nearly full" in line for line in controller.tick().did)  # told once
    with container.store.begin() as tx:
        tx.delete(Run, ("id", "=", run.id))
    assert evaluate(container, find_model(container, "churn"), []) is None
    (look,) = explain.why(container, "churn", limit=1)
    assert "held: training is frozen, 255 MiB are left" in look.reason
    left(LEAST)
    with container.store.begin() as tx:
        tx.put(run)
    assert [one.id for one in next_up(container, {})] == [run.id]
    container.executor = Idle()
    controller.tick()
    assert alerts(container)[0].state == "resolved"


def _age(file: Path) -> None:
    import os

    old = file.stat().st_mtime - 3 * 86_400
    os.utime(file, (old, old))


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow beyond a page."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_it_is_told_also_where_nothing_can_be_freed(
    container: Container, left: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> Iterator[object]:
        raise StoreUnavailable("the bucket is away")

    monkeypatch.setattr(container.blobs, "stored", away)
    left(LEAST - 1)
    assert any(
        "nothing more could be freed: the bucket is away" in one for one in Controller(container).tick().did
    )
    assert [one.severity for one in alerts(container)] == ["page"]


def test_what_a_full_disk_refused_is_done_once_there_is_space(container: Container, tmp_path: Path) -> None:
    controller = Controller(container)
    container.executor = Idle()
    more = pl.read_csv(tmp_path / "project" / "customers.csv").with_columns(id=pl.col("id") + 1000)
    run = submit(container, "churn", reason="asked for")
    with full_disk():
        with pytest.raises(StoreUnavailable):  # the turn is taken again a second later
            controller.tick()
        with pytest.raises((HomeostatError, OSError)):
            ingest(container, "customers", more, token="t1")
        with pytest.raises((HomeostatError, OSError)):
            execute(container, run.id)
    before = container.store.get(Dataset, "customers")
    assert before is not None
    assert before.rows == 600
    ingest(container, "customers", more, token="t1")  # its sender tries again
    after = container.store.get(Dataset, "customers")
    assert after is not None
    assert after.rows == 1200
    found = container.store.get(Run, run.id)
    assert found is not None
    if found.state == "queued":  # not even its beginning could be kept
        assert execute(container, run.id) is not None
    else:
        controller.tick()
        lost = container.store.get(Run, run.id)
        assert lost is not None
        assert lost.state == "failed"
        again = container.store.find(Run, ("state", "=", "queued"), limit=1)[0]
        assert execute(container, again.id) is not None
    assert container.ledger.verify().ok
