"""A logged prediction is explained by what its features add; what a model decides by is watched against training."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient

from homeostat.adapters.clock import SimulatedClock
from homeostat.app.apply import apply
from homeostat.app.attributing import Explanation, Importance, explanation, importances
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.deliveries import ingest
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.serving import load_version
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.domain.errors import BadRequest, Conflict, DeclarationError, NotFound
from homeostat.domain.records import Alert, Window
from homeostat.server.api import Api
from tests.app.asking import ask

START = datetime(2024, 1, 1, tzinfo=UTC)
PROJECT = """
from datetime import datetime
from typing import Literal

import homeostat as hs
import numpy as np


class Ask(hs.Contract):
    id: str
    at: datetime
    size: float
    warm: float
    noise: float
    good: bool | None
    kind: Literal["low", "mid", "high"] | None


asks = hs.Dataset("asks", key="id", time="at", contract=Ask)


@hs.on_request
def of(r):
    return r.select("size", "warm", "noise")


def linear(data):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(data.X, data.y)


def forest(data):
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(10, max_depth=3, random_state=0).fit(data.X, data.y)


def lightgbm(data):
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=5, num_leaves=4, verbose=-1, n_jobs=1).fit(data.X.to_numpy(), data.y)


def xgboost(data):
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=5, max_depth=2, n_jobs=1).fit(data.X.to_numpy(), data.y)


yes = hs.Binary(label="good", source=asks)
shop = hs.Model("shop", task=yes, features=[of], train=linear, attributions=hs.Attributions(rows=50))
wood = hs.Model("wood", task=yes, features=[of], train=forest)
light = hs.Model("light", task=yes, features=[of], train=lightgbm)
extreme = hs.Model("extreme", task=yes, features=[of], train=xgboost)
kinds = hs.Model("kinds", task=hs.MultiClass(label="kind", source=asks), features=[of], train=forest)
"""
MODELS = ("shop", "wood", "light", "extreme", "kinds")


def rows(count: int, first: int, at: datetime) -> pl.DataFrame:
    rng = np.random.default_rng(first)
    X = rng.normal(size=(count, 3))
    log_odds = 3 * X[:, 0] - X[:, 1]
    kinds = np.array(["low", "mid", "high"])[np.digitize(log_odds, [-1.5, 1.5])]
    return pl.DataFrame(
        {
            "id": [f"r{first + i}" for i in range(count)],
            "at": [at + timedelta(minutes=i) for i in range(count)],
            "size": X[:, 0],
            "warm": X[:, 1],
            "noise": X[:, 2],
            "good": rng.random(count) < 1 / (1 + np.exp(-log_odds)),
            "kind": kinds,
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose models serve; each test has a copy."""
    folder, home = tmp_path_factory.mktemp("shop"), tmp_path_factory.mktemp("home")
    (folder / "project.py").write_text(PROJECT)
    SimulatedClock(home / "clock", START + timedelta(days=1)).close()
    with Container(Settings(home=home, clock="simulated")) as made:
        apply(made, load_project(folder))
        ingest(made, "asks", rows(800, 0, START))
        for name in MODELS:
            execute(made, submit(made, name, reason="asked for").id)
        react_all(made)
    return home


@pytest.fixture
def container(trained: Path, tmp_path: Path) -> Iterator[Container]:
    shutil.copytree(trained, tmp_path / "home")
    with Container(Settings(home=tmp_path / "home", clock="simulated")) as made:
        yield made


@pytest.mark.parametrize(
    ("name", "method", "unit", "against"),
    [
        ("shop", "linear, exact", "log-odds", "training rows"),
        ("wood", "Shapley values, sampled", "the answer", "requests that it was asked with"),
        ("light", "TreeSHAP by LightGBM", "log-odds", "requests that it was asked with"),
        ("extreme", "TreeSHAP by XGBoost", "log-odds", "requests that it was asked with"),
        ("kinds", "Shapley values, sampled", "the answer", "requests that it was asked with"),
    ],
)
def test_contributions_add_up_to_what_was_answered(
    container: Container, name: str, method: str, unit: str, against: str
) -> None:
    requests = rows(40, 5000, container.clock.now()).drop("good", "kind")
    item = ask(container, name, requests)[7]
    found = explanation(container, f"prediction/{item.id}", budget=400)
    assert (found.model, found.method, found.unit) == (f"model/{name}@1", method, unit)
    assert found.against.endswith(against)
    assert found.evaluations <= 400
    assert found.answered == item.score
    total = found.base + sum(one.contribution for one in found.contributions)
    assert total == pytest.approx(found.explained)
    told = 1 / (1 + np.exp(-total)) if unit == "log-odds" else total
    assert told == pytest.approx(found.answered, abs=1e-4)
    assert {one.feature: one.value for one in found.contributions}["of__size"] == requests["size"][7]
    many = importances(container, name, budget=4000)
    assert many.rows == 40
    assert next(iter(many.features)) == "of__size"


def test_the_api_gives_the_same(container: Container) -> None:
    item = ask(container, "wood", rows(40, 5000, container.clock.now()).drop("good", "kind"))[3]
    with ThreadPoolExecutor(2) as pool:
        client = TestClient(Api(container, pool), base_url="http://127.0.0.1")
        answers_as_asked(client, container, item.id)


def answers_as_asked(client: TestClient, container: Container, id: str) -> None:
    told = client.get(f"/predictions/{id}/explanation", params={"budget": 300})
    assert msgspec.json.decode(told.content, type=Explanation) == explanation(container, id, budget=300)
    many = client.get("/deployments/wood/importance", params={"window": "1d", "budget": 4000})
    assert msgspec.json.decode(many.content, type=Importance).rows == 40
    assert client.get("/predictions/none/explanation").status_code == 404
    assert client.get("/deployments/none/importance").status_code == 404


def test_what_cannot_be_explained_is_refused(container: Container) -> None:
    with pytest.raises(NotFound, match="no prediction log"):
        explanation(container, "01J0")
    with pytest.raises(NotFound, match="nothing was asked"):
        importances(container, "wood")
    item = ask(container, "wood", rows(1, 5000, container.clock.now()).drop("good", "kind"))[0]
    with pytest.raises(Conflict, match="answered 1 requests"):
        explanation(container, item.id)
    with pytest.raises(BadRequest, match="budget"):
        explanation(container, item.id, budget=0)
    import homeostat as hs

    with pytest.raises(DeclarationError, match="no agreement"):
        hs.Attributions(ndcg=2)


def look(container: Container, first: int, *change: pl.Expr) -> Window:
    """A day later: 120 requests, and what was found of them."""
    clock = container.clock
    assert isinstance(clock, SimulatedClock)
    clock.set(clock.now() + timedelta(days=8))
    requests = rows(120, first, clock.now() - timedelta(hours=3)).drop("good", "kind")
    ask(container, "shop", requests.with_columns(*change))
    Controller(container).tick()
    (found,) = container.store.find(Window, ("monitor", "=", "attributions"), order=["-end"], limit=1)
    return found


def test_what_a_model_decides_by_is_watched(container: Container) -> None:
    held = look(container, 7000)
    assert held.value == pytest.approx(1.0)
    assert not held.breached
    assert set(held.detail["training"]) == {"of__size", "of__warm", "of__noise"}
    assert not container.store.find(Alert, ("state", "=", "open"))
    turned = look(container, 8000, pl.lit(0.0).alias("size"), pl.col("noise") * 1000)
    assert turned.breached
    assert turned.value is not None
    assert turned.value < 0.9
    (ticket,) = container.store.find(Alert, ("state", "=", "open"))
    assert (ticket.severity, ticket.key) == ("ticket", "attributions:shop")
    assert ticket.detail["suspects"][:2] == ["of__noise", "of__size"]
    assert not look(container, 9000).breached
    assert not container.store.find(Alert, ("state", "=", "open"))


def test_training_rows_are_kept_where_it_is_declared_alone(container: Container) -> None:
    kept = {
        name: bool(load_version(container, name, 1).scorer.package.reference.get("sample")) for name in MODELS
    }  # type: ignore[attr-defined] # a ModelScorer
    assert kept == {name: name == "shop" for name in MODELS}
