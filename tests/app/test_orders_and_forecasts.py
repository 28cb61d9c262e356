"""Rankings and forecasts through the whole loop: declared, trained, gated, served, labelled late, watched."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.metrics import mean_pinball_loss, ndcg_score

from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.deliveries import ingest
from homeostat.app.outcomes import label
from homeostat.app.projects import load_project
from homeostat.app.quality import assess
from homeostat.app.reactors import react_all
from homeostat.app.settings import Settings
from homeostat.domain.errors import BadRequest, DeclarationError
from homeostat.domain.records import GateResult
from tests.app.asking import ask, quality_now, trained
from tests.cli.invoking import Shell

PROJECT = """
from datetime import datetime

import homeostat as hs
import numpy as np
from lightgbm import LGBMRanker
from sklearn.linear_model import LinearRegression, QuantileRegressor


class Item(hs.Contract):
    id: int
    search: str
    at: datetime
    phone: bool
    match: float
    price: float


class Click(hs.Contract):
    id: int
    clicked: float


class Ask(hs.Contract):
    id: int
    at: datetime
    ahead: int
    lag: float


class Sale(hs.Contract):
    id: int
    demand: float


shown = hs.Dataset("shown", key="id", time="at", path="shown.csv", contract=Item)
clicks = hs.Dataset("clicks", key="id", path="clicks.csv", contract=Click)
asks = hs.Dataset("asks", key="id", time="at", path="asks.csv", contract=Ask)
sales = hs.Dataset("sales", key="id", path="sales.csv", contract=Sale)


def rank(data):
    assert data.X.columns == ["phone", "match", "price"], data.X.columns
    sizes = np.bincount(data.queries)
    assert sizes.min() == sizes.max() == 8, "a search is learned from or judged by as a whole"
    made = LGBMRanker(n_estimators=20, min_child_samples=5, verbose=-1, n_jobs=1)
    return made.fit(data.X, data.y, group=sizes)


order = hs.Model(
    "order",
    task=hs.Ranking(label="clicked", source=clicks, request=shown, query="search", k=3),
    train=rank,
    gates=[
        hs.beats("baseline", "ndcg"),
        hs.beats("champion", "map"),
        hs.worst_slice("phone", "mrr", at_least=0.3, min_rows=50),
    ],
    slo=hs.SLO(quality={"ndcg": 0.5}),
    retrain=hs.when(hs.slo_burn("ndcg")),
)
demand = hs.Model(
    "demand",
    task=hs.Forecast(label="demand", source=sales, request=asks, horizon="ahead", naive="lag"),
    train=lambda data: LinearRegression().fit(data.X, data.y),
    gates=[hs.beats("baseline", "mase"), hs.worst_slice("ahead", "wape", at_most=0.5, min_rows=20)],
    slo=hs.SLO(quality={"mase": 0.9}),
)
at_most = hs.Model(
    "at_most",
    task=hs.Forecast(label="demand", source=sales, request=asks, horizon="ahead", quantile=0.9),
    train=lambda data: QuantileRegressor(quantile=0.9, alpha=0.0).fit(data.X, data.y),
    gates=[hs.beats("baseline", "pinball")],
    slo=hs.SLO(quality={"coverage_error": 0.2}),
)
"""
START = datetime(2024, 1, 1, tzinfo=UTC)


def searches(count: int, first: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of eight items each, the ones that match best are clicked."""
    rng = np.random.default_rng(first + 1)
    ids = np.arange(first * 8, (first + count) * 8)
    match = rng.normal(size=len(ids))
    items = pl.DataFrame(
        {
            "id": ids,
            "search": [f"s{one // 8}" for one in ids],
            "at": [START + timedelta(minutes=int(one // 8)) for one in ids],
            "phone": (ids // 8) % 2 == 0,
            "match": match,
            "price": rng.normal(size=len(ids)),
        }
    )
    worth = (match + rng.normal(0, 0.3, len(ids))).reshape(-1, 8)
    clicked = (worth >= np.sort(worth, axis=1)[:, -2:-1]).astype(float).ravel()
    return items, pl.DataFrame({"id": ids, "clicked": clicked})


def forecasts(count: int, first: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Ten forecasts at a time, one to five steps ahead; the further ahead, the less is known."""
    rng = np.random.default_rng(first + 1)
    ids = np.arange(first, first + count)
    ahead, lag = ids % 5 + 1, rng.normal(50, 10, count)
    asked = pl.DataFrame(
        {
            "id": ids,
            "at": [START + timedelta(hours=int(one // 10)) for one in ids],
            "ahead": ahead,
            "lag": lag,
        }
    )
    return asked, pl.DataFrame({"id": ids, "demand": 20 + 0.5 * lag + rng.normal(0, ahead)})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "project.py").write_text(PROJECT)
    for tables, names in ((searches(120), ("shown", "clicks")), (forecasts(500), ("asks", "sales"))):
        for table, name in zip(tables, names, strict=True):
            table.write_csv(folder / f"{name}.csv")
    with Container(Settings(home=folder / "home")) as made:
        apply(made, load_project(folder))
        for name in ("order", "demand", "at_most"):
            version = trained(made, name)
            assert version.stage == "accepted", version.stage_reason
        react_all(made)
    return folder


@pytest.fixture
def container(home: Path, tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=shutil.copytree(home / "home", tmp_path / "home"))) as made:
        yield made


def test_an_order_is_judged_by_query_as_labels_come(container: Container, home: Path) -> None:
    items, came = searches(60, first=1000)
    scores = np.array([one.score for one in ask(container, "order", items.sample(fraction=1.0, seed=1))])
    declared = load_project(home).models["order"]
    assert quality_now(container, declared)["ndcg"].value is None
    label(container, "order", {f"order-{row['id']}": row["clicked"] for row in came[:160].to_dicts()})
    ingest(container, "clicks", came[160:320], token="a")
    mixed = items.sample(fraction=1.0, seed=1).with_columns(score=pl.Series(scores))
    known = mixed.join(came[:320], on="id")
    each = [
        ndcg_score([one["clicked"].to_list()], [one["score"].to_list()], k=3)
        for one in known.partition_by("search")
    ]
    found = quality_now(container, declared)["ndcg"]
    assert found.value == pytest.approx(np.mean(each), abs=0.02), "but for equal scores"
    assert (found.rows, found.breached, found.detail["unlabelled"]) == (320, False, 160)
    assert found.value > 0.8
    interval = found.detail["intervals"]["ndcg"]
    half = 1.96 * np.std(each, ddof=1) / np.sqrt(len(each))
    assert (interval["high"] - interval["low"]) / 2 == pytest.approx(half, abs=0.01)
    assert (interval["high"] + interval["low"]) / 2 == pytest.approx(found.value)
    with pytest.raises(BadRequest, match="is no relevance"):
        label(container, "order", {"order-1": -1.0})


def test_gates_compare_orders_with_a_random_one_and_with_the_champion(container: Container) -> None:
    again = trained(container, "order")
    assert again.stage == "rejected"
    gates = {one.gate: one for one in container.store.find(GateResult, ("version", "=", again.version))}
    beats = gates["beats baseline ndcg"]
    assert beats.passed
    assert beats.value is not None
    assert beats.threshold is not None
    assert 0.2 < beats.threshold < 0.6 < beats.value
    assert not gates["beats champion map"].passed, "the same data teach the same order"
    assert "no better than the champion's" in gates["beats champion map"].reason
    assert set(gates["worst phone mrr at least 0.3"].evidence["slices"]) == {"true", "false"}


def test_a_worse_order_names_the_searches_that_are_worse(container: Container, home: Path) -> None:
    items, came = searches(200, first=2000)
    ask(container, "order", items)
    wrong = came.with_columns(
        clicked=pl.when(items["phone"]).then(1 - pl.col("clicked")).otherwise("clicked")
    )
    ingest(container, "clicks", wrong, token="b")
    found = quality_now(container, load_project(home).models["order"])["ndcg"]
    worst = found.detail["worst"] or msgspec.to_builtins(assess(container, "order").worst)
    assert "phone" in worst[0]["where"]
    assert worst[0]["rows"] == 100, "each search counts once"
    whole = assess(container, "order")
    assert set(whole.intervals) == {"ndcg", "mrr", "map", "hit_rate"}
    assert set(whole.groups["phone"]) == {"0", "1"}
    assert (
        whole.groups["phone"]["1"].intervals["ndcg"].high < whole.groups["phone"]["0"].intervals["ndcg"].low
    )


def test_a_forecast_is_judged_by_how_far_ahead_it_looks(
    container: Container, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, came = forecasts(600, first=10_000)
    scores = np.array([one.score for one in ask(container, "demand", asked)])
    ingest(container, "sales", came[:500], token="a")
    y, p = came["demand"].to_numpy()[:500], scores[:500]
    found = quality_now(container, load_project(home).models["demand"])
    learned, labels = forecasts(500)
    naive = np.abs(labels["demand"] - learned["lag"])[:400].mean()
    assert found["mae"].value == pytest.approx(np.abs(y - p).mean())
    assert found["mase"].value == pytest.approx(np.abs(y - p).mean() / naive, rel=0.02)
    assert not found["mase"].breached
    assert set(found["mae"].detail["intervals"]) == {"mae", "rmse", "mase", "wape"}
    ahead = found["mae"].detail["groups"]["ahead"]
    assert list(ahead) == ["1", "2", "3", "4", "5"]
    errors = [one["metrics"]["mae"] for one in ahead.values()]
    assert errors == sorted(errors)
    assert ahead["1"]["intervals"]["mae"]["high"] < ahead["5"]["intervals"]["mae"]["low"]
    assert ahead["3"]["metrics"]["mae"] == pytest.approx(np.abs(y - p)[asked["ahead"][:500] == 3].mean())
    shown = Shell(home, monkeypatch, capsys)("quality", "demand", "--home", container.settings.home).out
    assert "mase" in shown
    assert "ahead" in shown


def test_a_quantile_is_judged_by_its_coverage(container: Container, home: Path) -> None:
    asked, came = forecasts(400, first=10_000)
    scores = np.array([one.score for one in ask(container, "at_most", asked)])
    ingest(container, "sales", came, token="a")
    found = quality_now(container, load_project(home).models["at_most"])
    y = came["demand"].to_numpy()
    assert found["pinball"].value == pytest.approx(mean_pinball_loss(y, scores, alpha=0.9))
    covered = found["coverage_error"]
    assert covered.value == pytest.approx(abs((y <= scores).mean() - 0.9))
    interval = covered.detail["intervals"]["coverage_error"]
    assert interval["low"] <= covered.value <= interval["high"] < 0.2
    assert not covered.breached


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('query="search", k=3', "k=3", "does not say which items are ranked together"),
        ('query="search"', 'query="basket"', "'basket' is no column of dataset 'shown'"),
        ('retrain=hs.when(hs.slo_burn("ndcg"))', "rollout=hs.Canary()", "is judged by query"),
        ('hs.slo_burn("ndcg")', "hs.concept_drift()", "is judged by query"),
        ('hs.beats("baseline", "ndcg")', 'hs.beats("baseline", "rmse")', "'rmse' is no metric of hs.Ranking"),
        ('request=asks, horizon="ahead", naive="lag"', 'horizon="ahead"', "when a forecast is made"),
        ('horizon="ahead", naive', 'horizon="far", naive', "'far' is no column of dataset 'asks'"),
        ('hs.beats("baseline", "mase")', 'hs.beats("no_change", "mae")', "may be that of another series"),
        (', naive="lag"', "", "'mase' is no metric of hs.Forecast"),
    ],
)
def test_what_cannot_be_judged_is_refused(tmp_path: Path, before: str, after: str, said: str) -> None:
    (tmp_path / "project.py").write_text(PROJECT.replace(before, after))
    with pytest.raises(DeclarationError, match=said):
        load_project(tmp_path)
