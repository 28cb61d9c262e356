"""Deliveries of several datasets: together or not at all, each row once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import polars as pl
import pytest

from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.datasets import append_log, seal
from homeostat.app.deliveries import Parcel, deliver, ingest
from homeostat.app.online import live_views
from homeostat.app.projects import load_project
from homeostat.app.reading import read
from homeostat.app.serving import ModelServing
from homeostat.app.settings import Settings
from homeostat.domain import records
from homeostat.domain.errors import BadRequest, ContractBroken, NotFound, StoreUnavailable
from homeostat.engine.serving.predictions import decide
from homeostat.ports.meta import Transaction
from tests.engine.serving.fakes import FakeScorer, routes
from tests.engine.serving.test_predictions import items

PROJECT = """
import homeostat as hs

class Order(hs.Contract):
    id: str
    shop: str
    total: float

class Line(hs.Contract):
    id: str
    order: str
    pieces: int

orders = hs.Dataset("orders", key="id", contract=Order)
lines = hs.Dataset("lines", key="id", contract=Line)
shop = hs.Entity("shop")

@hs.feature_view(entity=shop, source=orders)
def last_order(o):
    return o.select("total")
"""


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    (tmp_path / "project.py").write_text(PROJECT)
    with Container(Settings(home=tmp_path / "home")) as made:
        apply(made, load_project(tmp_path))
        yield made


def orders(*ids: str) -> pl.DataFrame:
    return pl.DataFrame({"id": ids, "shop": ["a"] * len(ids), "total": [2.0] * len(ids)})


def lines(*ids: str) -> pl.DataFrame:
    return pl.DataFrame({"id": ids, "order": ["1"] * len(ids), "pieces": [3] * len(ids)})


def stored(container: Container) -> tuple[list[str], list[str]]:
    found = [sorted(read(container, name).collect()["id"].to_list()) for name in ("orders", "lines")]
    return found[0], found[1]


def test_the_answers_are_in_the_order_of_the_parcels_and_features_follow(container: Container) -> None:
    done = deliver(container, [Parcel("orders", orders("1", "2")), Parcel("lines", lines("7"))])
    assert [(one.dataset, one.accepted, one.position) for one in done] == [("orders", 2, 1), ("lines", 1, 1)]
    assert stored(container) == (["1", "2"], ["7"])
    assert [container.online.position(key) for key in live_views(container)] == [1]
    assert deliver(container, []) == []


def test_one_broken_parcel_stores_nothing_of_any(container: Container) -> None:
    broken = lines("7").drop("pieces")
    for parcels, error in (
        ([Parcel("orders", orders("1")), Parcel("lines", broken)], ContractBroken),
        ([Parcel("orders", orders("1")), Parcel("nothing", orders("1"))], NotFound),
        ([Parcel("orders", orders("1")), Parcel("orders", orders("2"))], BadRequest),
    ):
        with pytest.raises(error):
            deliver(container, parcels)
        assert stored(container) == ([], [])
        assert container.store.count(records.Token) == 0


def test_a_parcel_that_came_before_adds_nothing_beside_a_new_one(container: Container) -> None:
    deliver(container, [Parcel("orders", orders("1"), "morning")])
    again, new = deliver(
        container, [Parcel("orders", orders("1"), "morning"), Parcel("lines", lines("7"), "morning")]
    )
    assert (again.repeated, new.repeated) == (True, False)
    assert stored(container) == (["1"], ["7"])
    assert all(one.repeated for one in deliver(container, [Parcel("lines", lines("7"), "morning")]))


def test_rows_of_a_parcel_that_break_the_contract_are_set_aside_alone(container: Container) -> None:
    doubled = orders("1", "1")
    bad, good = deliver(
        container, [Parcel("orders", doubled, tags={"by": "test"}), Parcel("lines", lines("7", "8"))]
    )
    assert (bad.accepted, bad.quarantined, good.accepted) == (1, 1, 2)
    (kept,) = container.store.find(records.Quarantined)
    assert (kept.dataset, kept.tags) == ("orders", {"by": "test"})


def test_a_log_whose_feature_changes_its_type_goes_on(container: Container) -> None:
    at = container.clock.now()
    for id, x in (("a", 1.5), ("b", "red"), ("c", 2.5)):
        append_log(container, "m.predictions", pl.DataFrame({"prediction_id": [id], "at": [at], "x": [x]}))
        append_log(
            container, "n.predictions", pl.DataFrame({"prediction_id": [id], "at": [at], "x": [str(x)]})
        )
    append_log(container, "n.predictions", pl.DataFrame({"prediction_id": ["d"], "at": [at], "x": [3.5]}))
    for sealed in (False, True):
        if sealed:
            seal(container, "m.predictions")
            seal(container, "n.predictions")
        log = read(container, "m.predictions").sort("prediction_id").collect()
        assert log["x"].to_list() == [1.5, None, 2.5]
        assert log["x__text"].to_list() == [None, "red", None]
        assert read(container, "n.predictions").sort("prediction_id").collect()["x"][-1] == "3.5"


def test_a_log_whose_commit_lost_its_answer_has_each_row_once(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = ModelServing(container, "w1").plane.log
    asked = items(routes(FakeScorer()), "a", "b", "c")
    decide(asked)
    for item in asked[:2]:
        log.append("shop", item)
    begin = container.store.begin

    @contextmanager
    def cut() -> Iterator[Transaction]:
        monkeypatch.undo()
        with begin() as tx:
            yield tx
        raise StoreUnavailable("the connection broke")

    monkeypatch.setattr(container.store, "begin", cut)
    assert log.flush() == 0
    log.append("shop", asked[2])
    assert log.flush() == 3
    logged = read(container, "shop.predictions").collect()
    assert sorted(logged["prediction_id"]) == [item.id for item in asked]


def test_two_first_deliveries_at_once_leave_one_set_of_columns(
    container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project.py").write_text(PROJECT + 'notes = hs.Dataset("notes", key="id")\n')
    apply(container, load_project(tmp_path))
    begin = container.store.begin

    def late() -> AbstractContextManager[Transaction]:
        """What comes between the check of a delivery and its transaction: another delivery."""
        monkeypatch.undo()
        ingest(container, "notes", pl.DataFrame({"id": ["1"], "said": [1]}))
        return begin()

    monkeypatch.setattr(container.store, "begin", late)
    done = ingest(container, "notes", pl.DataFrame({"id": ["2", "3"], "said": ["2", "no"]}))
    assert (done.accepted, done.quarantined) == (1, 1)
    seal(container, "notes")
    assert sorted(read(container, "notes").collect()["said"].to_list()) == [1, 2]
