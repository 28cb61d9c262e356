"""Every kind of task through the whole loop: declared, trained, gated, served, canaried, labelled, watched."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn import metrics as sk

import homeostat as hs
from homeostat.app.answers import sent_label
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.datasets import append_log
from homeostat.app.deliveries import ingest
from homeostat.app.outcomes import label
from homeostat.app.projects import load_project
from homeostat.app.quality import assess
from homeostat.app.reactors import react_all
from homeostat.app.rollouts import step
from homeostat.app.settings import Settings
from homeostat.domain import records
from homeostat.domain.declarations import Model
from homeostat.domain.errors import BadRequest, DeclarationError
from homeostat.domain.events import Event
from tests.app import asking
from tests.app.asking import ask, trained
from tests.app.asking import quality_now as windows

PROJECT = """
from typing import Annotated, Literal

import homeostat as hs
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, QuantileRegressor


class Ask(hs.Contract):
    id: int
    width: float
    depth: float


class House(hs.Contract):
    id: int
    price: float
    kind: Literal["hut", "house", "villa"]


asks = hs.Dataset("asks", key="id", path="asks.csv", contract=Ask)
houses = hs.Dataset("houses", key="id", path="houses.csv", contract=House)


@hs.metric(better="lower")
def overpriced(y, p):
    return float((p > y).mean())


@hs.metric(better="higher")
def villas_found(y, p):
    return float((p.argmax(axis=1)[y == 2] == 2).mean())


def fit(data, *, blind: bool = False):
    return (DummyRegressor() if blind else LinearRegression()).fit(data.X, data.y)


def classify(data, *, blind: bool = False):
    assert data.classes == ("house", "hut", "villa")
    return (DummyClassifier() if blind else LogisticRegression()).fit(data.X, data.y)


def ninety(data):
    return QuantileRegressor(quantile=0.9, alpha=0.0).fit(data.X, data.y)


price = hs.Model(
    "price",
    task=hs.Regression(label="price", source=houses, request=asks, metrics=[overpriced]),
    train=fit,
    gates=[
        hs.beats("baseline", "rmse"),
        hs.beats("baseline", "r2"),
        hs.worst_slice("width", overpriced, at_most=1.0, min_rows=1),
    ],
    rollout=hs.Canary(share=0.5, min_requests=50, decide_within="1d"),
    slo=hs.SLO(quality={"rmse": 1.0, "r2": 0.5, "overpriced": 0.9}),
    retrain=hs.when(hs.slo_burn("rmse")),
)
kind = hs.Model(
    "kind",
    task=hs.MultiClass(label="kind", source=houses, request=asks, metrics=[villas_found]),
    train=classify,
    gates=[hs.beats("baseline", "log_loss"), hs.beats("baseline", "macro_f1"), hs.calibrated(within=0.3)],
    rollout=hs.Canary(share=0.5, min_requests=50, decide_within="1d"),
    slo=hs.SLO(log_loss=1.0),
)
dear = hs.Model(
    "dear",
    task=hs.Regression(label="price", source=houses, request=asks, quantile=0.9),
    train=ninety,
    gates=[hs.beats("baseline", "pinball")],
)
"""
KINDS = np.array(["house", "hut", "villa"])


def houses(count: int, first: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(first + 1)
    width, depth = rng.normal(size=count), rng.normal(size=count)
    price = 3 * width - 2 * depth + rng.normal(0, 0.5, count)
    kind = np.array(["hut", "house", "villa"])[np.digitize(price + rng.normal(0, 1, count), [-2.0, 2.0])]
    ids = np.arange(first, first + count)
    return (
        pl.DataFrame({"id": ids, "width": width, "depth": depth}),
        pl.DataFrame({"id": ids, "price": price, "kind": kind}),
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("houses")
    (folder / "project.py").write_text(PROJECT)
    asks, known = houses(400)
    asks.write_csv(folder / "asks.csv")
    known.write_csv(folder / "houses.csv")
    with Container(Settings(home=folder / "home")) as made:
        apply(made, load_project(folder))
        for name in ("price", "kind", "dear"):
            version = trained(made, name)
            assert version.stage == "accepted", version.stage_reason
        react_all(made)
    return folder


@pytest.fixture
def container(home: Path, tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=shutil.copytree(home / "home", tmp_path / "home"))) as made:
        yield made


def model(home: Path, name: str) -> Model:
    return load_project(home).models[name]


def test_a_regression_is_served_and_watched_in_the_unit_of_its_label(
    container: Container, home: Path
) -> None:
    asks, known = houses(200, first=1000)
    items = ask(container, "price", asks)
    scores = np.array([item.score for item in items])
    assert np.corrcoef(scores, known["price"])[0, 1] > 0.95
    ingest(container, "houses", known[:150], token="a")
    found = windows(container, model(home, "price"))
    expected = sk.root_mean_squared_error(known["price"][:150], scores[:150])
    assert found["rmse"].value == pytest.approx(expected)
    assert (found["rmse"].rows, found["rmse"].threshold, found["rmse"].breached) == (150, 1.0, False)
    assert found["r2"].value == pytest.approx(sk.r2_score(known["price"][:150], scores[:150]))
    assert not found["r2"].breached
    assert found["overpriced"].value == pytest.approx(
        float((scores[:150] > known["price"][:150].to_numpy()).mean())
    )


def test_several_classes_are_served_with_their_probabilities(container: Container, home: Path) -> None:
    asks, known = houses(200, first=1000)
    items = ask(container, "kind", asks)
    first = items[0].scored
    assert first is not None
    probabilities = np.array([item.scored.outputs["probabilities"][item.index] for item in items])  # type: ignore[union-attr]
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(200))
    assert first.outputs["label"][0] == KINDS[probabilities[0].argmax()]
    assert items[0].score == pytest.approx(probabilities[0].max())
    half = known[:100]
    ingest(container, "houses", half, token="a")
    label(container, "kind", {f"kind-{row['id']}": row["kind"] for row in known[100:].to_dicts()})
    found = windows(container, model(home, "kind"))
    y = [KINDS.tolist().index(one) for one in known["kind"]]
    assert found["log_loss"].value == pytest.approx(sk.log_loss(y, probabilities, labels=[0, 1, 2]))
    assert found["log_loss"].rows == 200
    assert found["accuracy"].value == pytest.approx(sk.accuracy_score(y, probabilities.argmax(axis=1)))
    with pytest.raises(BadRequest, match="'castle' is no class"):
        label(container, "kind", {"kind-1": "castle"})


@pytest.mark.parametrize("name", ["price", "kind"])
@pytest.mark.parametrize("blind", [False, True])
def test_a_canary_compares_losses_of_the_task(container: Container, name: str, blind: bool) -> None:
    declared = trained(container, name, blind=blind)
    if blind:
        assert declared.stage == "rejected"
        with (
            container.store.begin() as tx
        ):  # the gates would not let it in: the canary is to find it by itself
            tx.put(msgspec.structs.replace(declared, stage="accepted"))
            tx.append(accepted(declared))
    react_all(container)
    (rollout,) = container.store.find(records.Rollout, ("state", "=", "running"))
    asks, known = houses(800, first=5000)
    ask(container, name, asks)
    ingest(container, "houses", known, token="b")
    decision = step(container, rollout)
    loss = "squared_error" if name == "price" else "log_loss"
    seen = decision.statistics["watched"][loss]
    assert seen["count"] > 300
    assert decision.action == ("rollback" if blind else "continue"), decision.reason
    assert (seen["mean"] > 0.3) == blind
    if blind:
        assert loss.replace("_", " ") in decision.reason


def accepted(version: records.ModelVersion) -> Any:
    return Event(
        kind="model.accepted", subject=f"model/{version.model}@{version.version}", at=version.updated_at
    )


def test_what_a_task_does_not_have_is_refused_where_it_is_declared(tmp_path: Path) -> None:
    for number, (before, after, said) in enumerate(
        [
            (
                'hs.beats("baseline", "rmse")',
                'hs.beats("baseline", "auc")',
                "'auc' is no metric of hs.Regression",
            ),
            ('quality={"rmse": 1.0', 'quality={"log_loss": 1.0', "'log_loss' is no metric of hs.Regression"),
            ('Literal["hut", "house", "villa"]', "str", "has the classes"),
            ("quantile=0.9", "quantile=1.5", "quantile is 1.5"),
            ("share=0.5,", 'share=0.5, watch=["log_loss"],', "its canary watches 'log_loss'"),
            ('hs.slo_burn("rmse")', 'hs.slo_burn("model_age")', "'model_age'.* has no service level"),
            ("metrics=[overpriced]", 'metrics=["overpriced"]', "metrics holds 'overpriced'"),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "project.py").write_text(PROJECT.replace(before, after))
        with pytest.raises(DeclarationError, match=said):
            load_project(folder)


def test_a_number_that_is_no_label_teaches_nothing() -> None:
    """Outcomes of A/B tests come the same way, and may be any number."""

    class Row(hs.Contract):
        id: int
        good: bool
        kind: Literal["a", "b", "c"]

    rows = hs.Dataset("rows", key="id", contract=Row)
    came = pl.DataFrame({"label": [0.0, 1.0, 2.0, 0.5, 300.0, None]})

    def labels(task: hs.Binary | hs.MultiClass) -> list[int | None]:
        return came.select(sent_label(task, "label")).to_series().to_list()

    assert labels(hs.Binary(label="good", source=rows)) == [0, 1, None, None, None, None]
    assert labels(hs.MultiClass(label="kind", source=rows)) == [0, 1, 2, None, None, None]


def test_all_that_is_known_of_the_quality_is_told_at_once(container: Container) -> None:
    asks, known = houses(400, first=1000)
    ask(container, "kind", asks)
    wrong = known.with_columns(
        kind=pl.when(asks["width"] > 0.7).then(pl.lit("hut")).otherwise(pl.col("kind"))
    )
    label(container, "kind", {f"kind-{row['id']}": row["kind"] for row in wrong[:350].to_dicts()})
    found = assess(container, "kind")
    assert (found.labelled, found.unlabelled) == (350, 50)
    assert found.delays is not None
    assert found.delays.come == pytest.approx(350 / 400)
    assert set(found.intervals) == set(found.metrics)
    for name, value in found.metrics.items():
        interval = found.intervals[name]
        assert interval.low <= interval.high
        assert interval.low - 0.1 <= value <= interval.high + 0.1
    assert sum(one["count"] for one in found.reliability) == 350
    assert found.worst
    assert "width" in found.worst[0].where
    asked = msgspec.json.decode(msgspec.json.encode(found))
    assert asked["worst"][0]["rows"] == found.worst[0].rows


def test_a_broken_promise_names_the_slices_behind_it(container: Container, home: Path) -> None:
    asks, known = houses(300, first=1000)
    ask(container, "price", asks)
    wrong = known.with_columns(
        price=pl.when(asks["depth"] > 0.7).then(pl.col("price") + 20).otherwise(pl.col("price"))
    )
    ingest(container, "houses", wrong, token="c")
    found = windows(container, model(home, "price"))
    assert found["rmse"].breached
    assert "depth" in found["rmse"].detail["worst"][0]["where"]
    assert found["mae"].detail["worst"] == []
    assert found["rmse"].detail["intervals"]["rmse"]["low"] > 5


def declare_more(container: Container, folder: Path) -> None:
    """The project with rows enough for models of errors."""
    folder.mkdir()
    (folder / "project.py").write_text(PROJECT)
    for table, file in zip(houses(1200), ("asks.csv", "houses.csv"), strict=True):
        table.write_csv(folder / file)
    apply(container, load_project(folder))


def test_an_estimate_takes_a_feature_that_no_request_has_as_missing(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Container(Settings(home=tmp_path / "home")) as container:
        declare_more(container, tmp_path / "more")
        trained(container, "price")
        react_all(container)

        def without(container: Container, name: str, rows: pl.DataFrame) -> int:
            return append_log(container, name, rows.with_columns(depth=None))

        monkeypatch.setattr(asking, "append_log", without)
        ask(container, "price", houses(200, first=5000)[0])
        found = windows(container, model(home, "price"))["estimated rmse"]
        assert found.detail["method"] == "DLE"
        assert found.value is not None


@pytest.mark.parametrize(
    ("name", "metric", "method"), [("price", "rmse", "DLE"), ("kind", "log_loss", "CBPE")]
)
def test_estimates_are_there_before_labels_and_are_scored_by_them(
    tmp_path: Path, home: Path, name: str, metric: str, method: str
) -> None:
    with Container(Settings(home=tmp_path / "home")) as container:
        declare_more(container, tmp_path / "more")
        assert trained(container, name).stage == "accepted"
        react_all(container)
        asks, known = houses(600, first=5000)
        ask(container, name, asks)
        before = windows(container, model(home, name))
        found = before[f"estimated {metric}"]
        assert (found.rows, found.breached, found.threshold) == (600, False, 1.0)
        assert found.detail["method"] == method
        assert (found.detail["labelled"], found.detail["error"]) == (0, None)
        assert before[metric].value is None
        ingest(container, "houses", known, token="d")
        after = windows(container, model(home, name))
        truth = after[metric].value
        assert truth is not None
        assert found.value == pytest.approx(truth, rel=0.3)
        told = after[f"estimated {metric}"].detail
        assert told["error"] == pytest.approx(told["on_labelled"] - truth)
        assert told["labelled"] == 600
