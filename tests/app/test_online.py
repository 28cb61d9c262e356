"""The online store follows the datasets, and what takes long there holds up no delivery."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import polars as pl
import pytest

import homeostat as hs
from homeostat.app import online
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.deliveries import ingest
from homeostat.app.projects import load_project
from homeostat.app.settings import Settings
from homeostat.domain.declarations import Windows
from homeostat.domain.errors import DeclarationError
from homeostat.engine.features import latest, windows
from homeostat.engine.features.times import micros

PROJECT = """
from datetime import datetime
import homeostat as hs

class Order(hs.Contract):
    id: str
    shop: str
    at: datetime
    total: float

orders = hs.Dataset("orders", key="id", time="at", contract=Order)
others = hs.Dataset("others", key="id", time="at", contract=Order)
shop = hs.Entity("shop")

@hs.feature_view(entity=shop, source=orders)
def last_order(o):
    return o.select("total")

week = hs.windows("week", entity=shop, source=orders, count=True, over=["7d"])
"""
NOW = datetime.now(UTC)
BATCHES = 20


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    (tmp_path / "project.py").write_text(PROJECT)
    with Container(Settings(home=tmp_path / "home")) as made:
        apply(made, load_project(tmp_path))
        for number in range(BATCHES):
            ingest(made, "orders", order(number))
        yield made


def order(number: int) -> pl.DataFrame:
    at = NOW - timedelta(hours=1) + timedelta(seconds=number)
    return pl.DataFrame({"id": [str(number)], "shop": ["a"], "at": [at], "total": [float(number)]})


def known(container: Container) -> tuple[Any, list[float | None], set[int]]:
    """The last order of the shop, how many it had, and the positions of the views."""
    values: dict[str, Any] = {}
    at = micros(NOW - datetime(1970, 1, 1, tzinfo=UTC))
    for key, view in online.live_views(container).items():
        (state,) = container.online.read([(key, b"a")])
        if isinstance(view, Windows):
            values["week"] = windows.lookup(view, windows.decode(state), at)
        else:
            row = latest.seen_at(state, at)
            values["last"] = row.values if row else None
    return (
        values["last"],
        values["week"],
        {container.online.position(key) for key in online.live_views(container)},
    )


def lose(container: Container) -> None:
    for key in online.live_views(container):
        container.online.clear(key)


def test_rows_come_in_while_features_are_built_again(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(container)
    building, go_on = Event(), Event()

    def slow(*given: Any) -> dict[bytes, bytes]:
        building.set()
        assert go_on.wait(100)
        return changes(*given)

    changes: Callable[..., dict[bytes, bytes]] = online.changes
    monkeypatch.setattr(online, "changes", slow)
    with ThreadPoolExecutor() as pool:
        built = pool.submit(online.refresh, container)
        try:
            assert building.wait(100)
            for name in ("orders", "others"):
                assert ingest(container, name, order(BATCHES)).accepted == 1
            assert not built.done()
        finally:
            go_on.set()
        assert built.result(100) == 2
    # What came meanwhile counts once, and is level before anything else comes.
    assert known(container) == ([float(BATCHES)], [BATCHES + 1.0], {BATCHES + 1})


def test_two_processes_that_build_the_same_count_each_row_once(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(container)
    together = Barrier(2)

    def met(*given: Any) -> dict[bytes, bytes]:
        if given[2] is None:  # both have read where the view was before either writes
            together.wait(100)
        return changes(*given)

    changes: Callable[..., dict[bytes, bytes]] = online.changes
    monkeypatch.setattr(online, "changes", met)
    with Container(container.settings) as other, ThreadPoolExecutor() as pool:
        moved = list(pool.map(online.refresh, (container, other)))
        assert sum(moved) == 2
        ingest(other, "orders", order(BATCHES))
    assert known(container) == ([float(BATCHES)], [BATCHES + 1.0], {BATCHES + 1})


def test_a_view_that_lacks_a_few_batches_is_level_after_the_next_delivery(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeostat.app.deliveries.refresh", lambda *_: 0)
    for number in range(BATCHES, BATCHES + 3):
        ingest(container, "orders", order(number))
    assert known(container)[2] == {BATCHES}
    monkeypatch.undo()
    ingest(container, "orders", order(BATCHES + 3))
    assert known(container) == ([float(BATCHES + 3)], [BATCHES + 4.0], {BATCHES + 4})


def test_a_view_that_another_process_brought_further_meanwhile_is_not_set_back(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(container)
    changes: Callable[..., dict[bytes, bytes]] = online.changes
    with Container(container.settings) as other:

        def overtaken(*given: Any) -> dict[bytes, bytes]:
            monkeypatch.setattr(online, "changes", changes)
            ingest(other, "orders", order(BATCHES))
            online.refresh(other)
            return changes(*given)

        monkeypatch.setattr(online, "changes", overtaken)
        online.refresh(container)
    assert known(container) == ([float(BATCHES)], [BATCHES + 1.0], {BATCHES + 1})
    ingest(container, "orders", order(BATCHES + 1))
    assert known(container) == ([float(BATCHES + 1)], [BATCHES + 2.0], {BATCHES + 2})


def test_what_a_view_refuses_itself_is_told_as_it_says_it() -> None:
    @hs.on_request
    def positive(r: pl.LazyFrame) -> pl.LazyFrame:
        if r.select(pl.col("x").min()).collect().item() < 0:
            raise hs.BadRequest("x is negative", field="x")
        return r.select("x")

    with pytest.raises(hs.BadRequest, match="x is negative"):
        latest.transform(positive, pl.DataFrame({"x": [-1.0]}))


def test_a_new_view_whose_function_fails_keeps_no_other_from_being_level(
    container: Container, tmp_path: Path
) -> None:
    broken = '@hs.feature_view(entity=shop, source=orders)\ndef broken(o):\n    return o.select("nothing")\n'
    (tmp_path / "project.py").write_text(
        PROJECT.replace("@hs.feature_view", f"{broken}\n@hs.feature_view", 1)
    )
    for lost in (False, True):
        with pytest.raises(DeclarationError, match=r"stops on .* ColumnNotFoundError") as told:
            apply(container, load_project(tmp_path))
        assert "broken" in told.value.declaration
        if lost:
            lose(container)
        ingest(container, "orders", order(BATCHES + lost))
        assert known(container)[2] == {-1, BATCHES + 1 + lost}
