"""A drift rule at work: it looks at each row once, goes on after a restart, reports, explains, and ends."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from homeostat.adapters.clock import SimulatedClock
from homeostat.app import explain
from homeostat.app.apply import apply, plan
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.datasets import append_log
from homeostat.app.deliveries import ingest
from homeostat.app.outcomes import label
from homeostat.app.projects import Declared, load_project
from homeostat.app.reactors import react_all
from homeostat.app.reporting.page import page
from homeostat.app.reporting.report import report
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.domain import records
from homeostat.domain.errors import BadRequest, DeclarationError, NotFound
from homeostat.engine.monitoring.reference import Reference, reference
from homeostat.engine.registry.package import REFERENCE

START = datetime(2024, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=8)
RULE = "drift, 0.05 false a year"
PROJECT = """
import homeostat as hs
from sklearn.linear_model import LogisticRegression

asks = hs.Dataset("asks", key="id", time="at")
answers = hs.Dataset("answers", key="id", time="known_at")


@hs.on_request
def size(r):
    return r.select("warm", "size")


def train(data):
    return LogisticRegression().fit(data.X, data.y)


model = hs.Model(
    "shop",
    task=hs.Binary(label="good", source=answers, request=asks),
    features=[size],
    train=train,
    holdout=0.05,
    retrain=hs.when(hs.drift(DRIFT), cooldown="90d"),
)
"""


def asked(rng: np.random.Generator, count: int, at: datetime, *, more: float = 0.0) -> pl.DataFrame:
    """Requests over a day; ``warm`` follows the hour, ``size`` depends on nothing."""
    times = [at + timedelta(seconds=86_400 * (i + 0.5) / count) for i in range(count)]
    warm = np.array([np.sin(time.hour / 24 * 2 * np.pi) for time in times]) + rng.normal(size=count)
    return pl.DataFrame({"at": times, "warm": warm, "size": rng.normal(size=count) + more})


def project(folder: Path, drift: str) -> Declared:
    folder.mkdir()
    (folder / "project.py").write_text(PROJECT.replace("DRIFT", drift))
    return load_project(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose first model serves; each test has a copy."""
    folder = tmp_path_factory.mktemp("trained")
    home = folder / "home"
    home.mkdir()
    SimulatedClock(home / "clock", NOW).close()
    rng = np.random.default_rng(1)
    asks = pl.concat([asked(rng, 1500, START + timedelta(days=day)) for day in range(7)])
    asks = asks.with_columns(id=pl.int_range(pl.len()))
    good = rng.random(asks.height) < 1 / (1 + np.exp(-3 * asks["size"].to_numpy()))
    with Container(Settings(home=home, clock="simulated")) as container:
        apply(container, project(folder / "shop", 'season="hour"'))
        ingest(container, "asks", asks)
        ingest(container, "answers", asks.select("id", known_at=pl.col("at"), good=good))
        execute(container, submit(container, "shop", reason="first model").id)
        react_all(container)
    return home


@pytest.fixture
def container(trained: Path, tmp_path: Path) -> Iterator[Container]:
    shutil.copytree(trained, tmp_path / "home")
    with Container(Settings(home=tmp_path / "home", clock="simulated")) as made:
        yield made


def day(
    container: Container, rng: np.random.Generator, *, more: float = 0.0, together: float = 0.0
) -> records.Evaluation:
    """A day of 600 requests, and what the rule made of it; ``together`` is how far ``size`` follows ``warm``."""
    clock = container.clock
    assert isinstance(clock, SimulatedClock)
    requests = asked(rng, 600, clock.now(), more=more)
    follows = together * pl.col("warm") / 1.22 + (1 - together**2) ** 0.5 * pl.col("size")
    requests = requests.with_columns(size=follows)
    begun = clock.now()
    clock.set(begun + timedelta(days=1))
    log = requests.select(
        prediction_id=pl.format("p{}-{}", pl.lit(begun.isoformat()), pl.int_range(pl.len())),
        at=pl.col("at"),
        time=pl.col("at"),
        key=pl.int_range(pl.len()).cast(pl.String),
        version=pl.lit(1),
        arm=pl.lit("champion"),
        score=pl.lit(0.5),
        error=pl.lit(None, pl.String),
        status=pl.lit(200),
        latency_us=pl.lit(900),
        size__warm=pl.col("warm"),
        size__size=pl.col("size"),
    )
    append_log(container, "shop.predictions", log)
    Controller(container).tick()
    return explain.why(container, "shop", limit=1)[0]


def tickets(container: Container) -> list[records.Alert]:
    return container.store.find(records.Alert, ("state", "=", "open"))


def test_drift_is_reported_explained_and_over_when_it_is_over(container: Container) -> None:
    rng = np.random.default_rng(2)
    for looks in range(1, 4):
        told = day(container, rng)
        assert told.rule == RULE
        assert not told.fired, told.reason
        assert f"in {600 * looks:,} rows" in told.reason  # each row once
        assert "at most 0.0044 false reports a month" in told.reason
    assert not tickets(container)
    told = day(container, rng, more=0.6)
    assert told.fired
    assert told.value is not None
    assert told.threshold is not None
    assert told.value >= told.threshold
    assert "behind it size__size (PSI " in told.reason
    assert "held: within 90d" in told.reason
    (ticket,) = tickets(container)
    assert (ticket.severity, ticket.subject) == ("ticket", "deployment/shop")
    assert "behind it: size__size" in ticket.summary
    assert ticket.detail["suspects"] == ["size__size"]
    for _ in range(15):
        if not day(container, rng).fired:
            break
    assert not tickets(container)


def test_evidence_is_the_same_after_every_restart(container: Container, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for _ in range(3):
        with Container(Settings(home=tmp_path / "home", clock="simulated")) as again:
            day(again, rng)
    windows = container.store.find(records.Window, ("monitor", "=", RULE), order=["end"])
    assert [w.detail.get("evidence", {}).get("looks") for w in windows] == [None, None, 3]  # kept once
    assert [w.rows for w in windows] == [600, 600, 600]
    assert [w.start for w in windows[1:]] == [w.end for w in windows[:-1]]


def test_the_training_data_are_kept_by_season(container: Container) -> None:
    version = container.store.get(records.ModelVersion, "shop", 1)
    assert version is not None
    kept = Reference.read(msgspec.json.decode(container.blobs.get(version.manifest["files"][REFERENCE])))
    assert set(kept.strata["size__warm"]) == {str(hour) for hour in range(24)}
    assert np.sum(list(kept.strata["size__warm"].values()), axis=0).tolist() == (
        kept.features["size__warm"].counts
    )


def test_what_is_promised_is_told_when_it_is_declared(container: Container, tmp_path: Path) -> None:
    declared = project(tmp_path / "shop", "false_alarm=0.12")
    (told,) = [change for change in plan(container, declared) if change.ref == "model/shop"]
    assert told.promises == (
        "drift, 0.12 false a year: at most 0.011 false reports a month are to be expected",
    )
    assert told == next(change for change in apply(container, declared) if change.ref == "model/shop")
    (told,) = [
        change
        for change in plan(container, project(tmp_path / "bare", "threshold=0.25"))
        if change.ref == "model/shop"
    ]
    assert "promises nothing" in told.promises[0]


def test_a_promise_that_the_training_data_cannot_keep_is_refused(
    container: Container, tmp_path: Path
) -> None:
    apply(container, project(tmp_path / "shop", 'season="hour", floor=0.01'))
    told = day(container, np.random.default_rng(4), more=3.0)
    assert not told.fired
    assert "no feature can be watched; not watched, since it takes more training rows" in told.reason
    assert re.search(r"size__size \(\d{3},\d{3}\)", told.reason)


@pytest.mark.parametrize("of", ["size", "size__warm", "score", ["label", "size__size"]])
def test_rules_watch_what_they_name_or_what_begins_so(container: Container, tmp_path: Path, of: Any) -> None:
    plan(container, project(tmp_path / "shop", f"of={of!r}"))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('of="siz"', r"hs.drift\(of='siz'\) names nothing that it has"),
        ('of=["size", "size__colour"]', "Name any of size__warm, size__size, score, label"),
        ('of="label", threshold=0.2', "names nothing that it has"),
        (
            'of="score"), hs.drift(of="score", floor=0.1',
            "two of its rules are 'drift in score, 0.05 false a year'",
        ),
    ],
)
def test_a_rule_that_would_watch_nothing_or_the_same_twice_is_refused(
    container: Container, tmp_path: Path, said: str, why: str
) -> None:
    with pytest.raises(DeclarationError, match=why):
        plan(container, project(tmp_path / "shop", said))


@pytest.mark.parametrize("said", ["false_alarm=0", "floor=-1.0", 'season="month"'])
def test_what_cannot_be_promised_cannot_be_declared(tmp_path: Path, said: str) -> None:
    with pytest.raises(DeclarationError, match=said.partition("=")[0]):
        project(tmp_path / "shop", said)


def test_any_span_of_time_is_reported_beside_its_training_data(container: Container) -> None:
    rng = np.random.default_rng(8)
    for more in (0.0, 0.0, 0.6):
        day(container, rng, more=more)
        begun = container.clock.now() - timedelta(days=1)
        label(container, "shop", {f"p{begun.isoformat()}-{i}": i % 2 for i in range(0, 600, 4)})
    end = container.clock.now()
    quiet = report(container, "shop", end - timedelta(days=3), end - timedelta(days=1))
    assert (quiet.rows, quiet.labelled, quiet.versions) == (1200, 300, {"1": 1200})
    found = report(container, "shop", end - timedelta(days=1), end)
    features = {one.name: one for one in found.features}
    assert set(features) == {"size__size", "size__warm", "score", "label"}
    moved, still = features["size__size"], features["size__warm"]
    assert moved.sizes.excess > 0 == still.sizes.excess
    assert moved.before.mean == pytest.approx(0, abs=0.05)
    assert moved.now.mean == pytest.approx(0.6, abs=0.15)
    assert (moved.now.rows, features["label"].now.rows, features["label"].now.mean) == (600, 150, 0)
    for one in found.features:
        assert len(one.bins) == len(one.before.shares) == len(one.now.shares)
        assert sum(one.now.shares) == pytest.approx(1, abs=1e-4)
    assert [look.breached for look in found.monitors[RULE]] == [True]
    (alert,) = found.alerts
    assert (alert.state, [step.what for step in found.times[alert.id]]) == ("open", ["detected"])
    whole = found.quality
    assert (whole.labelled, whole.unlabelled) == (150, 450)
    low, value, high = (getattr(whole.intervals["brier"], name) for name in ("low", "value", "high"))
    assert low <= value == whole.metrics["brier"] <= high
    text = page(report(container, "shop", end - timedelta(days=3), end))
    assert all(said in text for said in ("size__warm", "behind it: size__size", "reports at 22.22"))
    told = f"detected</span> {alert.opened_at:%d %b %Y %H:%M}"
    assert all(
        said in text for said in (told, "why shows each evaluation", "<h2>Quality</h2>", "calibration_error")
    )
    assert "http" not in text  # it loads nothing
    with pytest.raises(NotFound, match="was not asked from 2023"):
        report(container, "shop", START - timedelta(days=9), START - timedelta(days=2))
    with pytest.raises(NotFound, match="model/shop@7"):
        report(container, "shop", START, end, version=7)
    alien = reference(pl.DataFrame({"weight": [1.0]}))
    with pytest.raises(BadRequest, match=r"w.bin has no feature of model/shop"):
        report(container, "shop", START, end, against=("w.bin", alien))
    known = reference(pl.DataFrame({"size": rng.normal(size=4000)}))
    (beside,) = report(container, "shop", START, end, against=("other", known)).features
    assert beside.name == "size__size"
    whole = pl.DataFrame({"id": ["1"], "good": [True], "size": [1.0], "weight": [1.0]})
    told = report(container, "shop", START, end, against=("w.bin", reference(whole)))
    assert told.absent == ["weight"]  # neither the key nor the label is asked with
    day(container, rng, more=0.6)
    after = report(container, "shop", end, container.clock.now())
    assert [one.id for one in after.alerts] == [alert.id]  # it is open since before
    assert quiet.alerts == []


def test_sizes_are_of_the_rows_of_each_window(container: Container, tmp_path: Path) -> None:
    apply(container, project(tmp_path / "shop", 'window="2d"), hs.drift(of="size", window="1d"'))
    rng = np.random.default_rng(9)
    for more in (0.0, 0.0, 1.0):
        day(container, rng, more=more)
    newest = {"monitor": "drift 1d", "rows": 600}, {"monitor": "drift 2d", "rows": 1200}
    for told in newest:
        same = ("monitor", "=", told["monitor"])
        (window,) = container.store.find(records.Window, same, order=["-end"], limit=1)
        assert window.rows == told["rows"]
        whole = report(container, "shop", window.start, window.end)
        (size,) = [one.sizes for one in whole.features if one.name == "size__size"]
        assert window.detail["size__size"]["psi"] == pytest.approx(size.psi, rel=1e-3)


def test_labels_that_drift_are_found_as_they_come_each_once(container: Container, tmp_path: Path) -> None:
    apply(container, project(tmp_path / "shop", 'of="label"'))
    rng, told = np.random.default_rng(5), None
    for turn, share in enumerate((0.5, 0.5, 0.5, 0.8)):
        told = day(container, rng)
        begun = container.clock.now() - timedelta(days=1)
        labels = {f"p{begun.isoformat()}-{i}": bool(rng.random() < share) for i in range(600)}
        label(container, "shop", labels)
        if turn:
            assert not told.fired, told.reason
            label(container, "shop", labels)  # sent again
            assert f"in {600 * (turn - 1):,} rows of 1 features" in told.reason
    told = day(container, rng)
    assert told.fired, told.reason
    assert told.rule == "drift in label, 0.05 false a year"
    assert [one.summary for one in tickets(container)] == [
        "labels drifted from the training data of version 1; behind it: label"
    ]
    assert "in 1,800 rows" in told.reason
    assert "behind it label (PSI" in told.reason


def test_what_moves_only_together_is_found_by_a_rule_that_looks_at_it_together(
    container: Container, tmp_path: Path
) -> None:
    apply(container, project(tmp_path / "shop", 'joint=True, season="hour", floor=0.2'))
    told = day(container, np.random.default_rng(6))
    assert "no feature can be watched" in told.reason  # its training kept no rows
    (window,) = container.store.find(records.Window, ("monitor", "=", told.rule))
    assert window.value is None  # what is not watched holds nothing
    execute(container, submit(container, "shop", reason="with rows kept").id)
    react_all(container)
    rng = np.random.default_rng(7)
    day(container, rng)
    for _ in range(2):
        told = day(container, rng)
        assert not told.fired, told.reason
    assert told.rule == "joint drift, 0.05 false a year"
    for _ in range(4):
        told = day(container, rng, together=0.95)
        if told.fired:
            break
    assert told.fired, told.reason
    assert re.search(r"behind it joint \(AUC 0\.[6-9]", told.reason)
    (ticket,) = tickets(container)
    assert ticket.summary.endswith("behind it: size__size, size__warm, together")
    assert ticket.detail["suspects"] == ["size__size", "size__warm"]
