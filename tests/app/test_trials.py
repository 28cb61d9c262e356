"""Live traffic decides: A/B tests, champions on probation, shadows, and labels by prediction id."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from homeostat.adapters.clock import SimulatedClock
from homeostat.app import admission, reactors
from homeostat.app.apply import apply
from homeostat.app.attempts import ATTEMPTS
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.datasets import append_log
from homeostat.app.deliveries import ingest
from homeostat.app.outcomes import label
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.rollouts import promote, rollback
from homeostat.app.settings import Settings
from homeostat.app.shadows import agreement, start_shadow, stop_shadow
from homeostat.app.training import execute, submit
from homeostat.app.triggers import coming
from homeostat.domain import records
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.domain.trials import Trial

START = datetime(2024, 1, 1, tzinfo=UTC)
PROJECT = """
import homeostat as hs
from sklearn.linear_model import LogisticRegression

rows = hs.Dataset("rows", key="id", path="rows.csv")
orders = hs.Dataset("orders", key="id", path="orders.csv")


def train(data):
    return LogisticRegression().fit(data.X, data.y)


shop = hs.Model(
    "shop",
    task=hs.Binary(label="good", source=rows),
    train=train,
    rollout={rollout},
    slo=hs.SLO(availability=0.999, p99="50ms", rollback_on=["availability", "p99"]),
)
"""
AB = 'hs.ABTest(arms={"champion": 0.5, "challenger": 0.5}, outcome="orders.spent", bounds=(0, 100), min_outcomes=20)'
RETRAINED = 'None, retrain=hs.when(hs.every("1d"), check_every="1h")'
NO_RIVAL = RETRAINED.replace(
    "None",
    'hs.ABTest(arms={"champion": 0.4, "challenger": 0.3, "rival": 0.3}, outcome="orders.spent", bounds=(0, 100))',
)


class Hands(SimulatedClock):
    """A clock whose real time is moved by hand too."""

    real = START

    def wall(self) -> datetime:
        return self.real


def rows(count: int) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    size = rng.normal(size=count)
    good = rng.random(count) < 1 / (1 + np.exp(-3 * size))
    return pl.DataFrame({"id": np.arange(count), "size": size, "good": good.astype(int)})


@pytest.fixture
def rollout() -> str:
    return "None"


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """By how a model is rolled out, a home whose first version is trained: made once, then copied."""
    made: dict[str, Path] = {}

    def home(rollout: str) -> Path:
        if rollout not in made:
            folder = made[rollout] = tmp_path_factory.mktemp("shop")
            (folder / "project.py").write_text(PROJECT.format(rollout=rollout))
            rows(200).write_csv(folder / "rows.csv")
            (folder / "orders.csv").write_text("id,spent\n-1,0.5\n")
            (folder / "home").mkdir()
            SimulatedClock(folder / "home" / "clock", START).close()
            with Container(Settings(home=folder / "home", clock="simulated")) as container:
                apply(container, load_project(folder))
                trained(container)
        return made[rollout] / "home"

    return home


@pytest.fixture
def container(tmp_path: Path, rollout: str, homes: Callable[[str], Path]) -> Iterator[Container]:
    home = shutil.copytree(homes(rollout), tmp_path / "home")
    with Container(Settings(home=home, clock="simulated")) as made:
        yield made


def trained(container: Container) -> int:
    version = execute(container, submit(container, "shop", reason="again").id)
    react_all(container)
    assert version is not None
    return version.version


def advance(container: Container, by: timedelta) -> None:
    clock = container.clock
    assert isinstance(clock, SimulatedClock)
    clock.set(clock.now() + by)


def answered(container: Container, version: int, ids: list[int], **changes: Any) -> None:
    """Rows of the prediction log as a model server writes them."""
    row = {
        "at": container.clock.now(),
        "time": container.clock.now(),
        "version": version,
        "arm": "champion",
        "score": 0.5,
        "shadow_version": None,
        "shadow_score": None,
        "shadow_error": None,
        "error": None,
        "status": 200,
        "latency_us": 900,
        "request": "{}",
        "size": 0.5,
    } | changes
    log = pl.DataFrame([{"prediction_id": f"p{id}", "key": str(id), **row} for id in ids]).cast(
        {
            "shadow_version": pl.Int64,
            "shadow_score": pl.Float64,
            "score": pl.Float64,
            "shadow_error": pl.String,
            "error": pl.String,
            "at": pl.Datetime("us", "UTC"),
            "time": pl.Datetime("us", "UTC"),
        }
    )
    append_log(container, "shop.predictions", log)


def arms(container: Container) -> list[tuple[int, float, str]]:
    found = container.store.get(records.Deployment, "shop")
    assert found is not None
    return [(arm.version, arm.weight, arm.role) for arm in found.arms]


def stage(container: Container, version: int) -> str:
    found = container.store.get(records.ModelVersion, "shop", version)
    assert found is not None
    return found.stage


def incidents(container: Container) -> list[records.Alert]:
    """What was done about a champion; of its service levels, others tell."""
    found = container.store.find(records.Alert, ("subject", "=", "deployment/shop"))
    return [alert for alert in found if alert.key.startswith("incident:")]


def spent(container: Container, first: int, count: int, mean: float) -> None:
    rng = np.random.default_rng(first)
    money = rng.uniform(0, 2 * mean, count)
    ingest(container, "orders", pl.DataFrame({"id": np.arange(first, first + count), "spent": money}))


@pytest.mark.parametrize("rollout", [AB])
def test_the_arm_with_the_better_outcome_takes_over(container: Container) -> None:
    assert arms(container) == [(1, 1.0, "champion")]
    assert trained(container) == 2
    assert arms(container) == [(1, 0.5, "champion"), (2, 0.5, "variant")]
    assert stage(container, 2) == "canary"
    answered(container, 1, list(range(1000, 1200)))
    answered(container, 2, list(range(2000, 2200)), arm="variant")
    spent(container, 1000, 200, 20.0)
    spent(container, 2000, 30, 40.0)
    controller = Controller(container)
    controller.tick()
    (trial,) = container.store.find(Trial)
    assert trial.state == "running"
    assert trial.statistics["arms"]["2"]["outcomes"] == 30
    spent(container, 2000, 30, 40.0)  # sent again: counts once
    controller.tick()
    assert container.store.find(Trial)[0].statistics["arms"]["2"]["outcomes"] == 30
    spent(container, 2030, 170, 40.0)
    did = controller.tick().did
    (trial,) = container.store.find(Trial)
    assert (trial.state, trial.winner) == ("decided", 2), (trial, did)
    assert "@2 is best" in trial.reason
    assert arms(container) == [(2, 1.0, "champion")]
    assert (stage(container, 1), stage(container, 2)) == ("retired", "champion")
    (event,) = container.ledger.find(subject=f"trial/{trial.id}", kinds=["trial.decided"], limit=2)
    assert event.body["statistics"]["arms"]["1"]["outcomes"] == 200
    assert controller.tick().did == []


@pytest.mark.parametrize("rollout", [AB.replace("min_outcomes=20", 'min_outcomes=20, allocation="thompson"')])
def test_a_bandit_moves_shares_and_the_deadline_keeps_the_champion(container: Container) -> None:
    trained(container)
    answered(container, 1, list(range(1000, 1040)))
    answered(container, 2, list(range(2000, 2040)), arm="variant")
    spent(container, 1000, 40, 20.0)
    spent(container, 2000, 40, 30.0)
    Controller(container).tick()
    weights = {version: weight for version, weight, _ in arms(container)}
    assert weights[2] > 0.6
    assert sum(weights.values()) == pytest.approx(1)
    advance(container, timedelta(days=14))
    Controller(container).tick()
    (trial,) = container.store.find(Trial)
    assert (trial.state, trial.winner) == ("decided", 0)
    assert "the champion stays" in trial.reason
    assert arms(container) == [(1, 1.0, "champion")]
    assert stage(container, 2) == "rolled-back"


@pytest.mark.parametrize("rollout", [NO_RIVAL])
def test_a_challenger_whose_test_cannot_begin_holds_up_no_training(container: Container) -> None:
    assert trained(container) == 2
    controller = Controller(container)
    assert controller.tick().busy == []  # nothing is called a rival: it stays as it is, until somebody does
    assert (stage(container, 2), coming(container)) == ("accepted", [])
    advance(container, timedelta(days=1))
    assert any("fired" in line for line in controller.tick().did)


@pytest.mark.parametrize("rollout", [RETRAINED])
def test_a_version_whose_rollout_was_set_aside_holds_up_no_training(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = container.__dict__["clock"] = Hands(container.settings.home / "clock")
    execute(container, submit(container, "shop", reason="again").id)

    def fails(*_: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(reactors, "begin", fails)
    for attempt in range(1, ATTEMPTS):
        with pytest.raises(OSError, match="no room"):
            react_all(container)
        assert [found.version for found in coming(container)] == [2], attempt
        clock.real += timedelta(minutes=20)
    advance(container, timedelta(days=1))
    assert any("fired" in line for line in Controller(container).tick().did)
    assert (stage(container, 2), coming(container)) == ("accepted", [])
    assert "roll-out failed 10 times" in container.store.find(records.Alert)[0].summary


@pytest.mark.parametrize("rollout", [AB])
def test_a_rollback_by_hand_ends_the_test(container: Container) -> None:
    trained(container)
    rollback(container, "shop", actor="user", reason="enough")
    assert arms(container) == [(1, 1.0, "champion")]
    assert [trial.state for trial in container.store.find(Trial)] == ["stopped"]
    Controller(container).tick()
    assert arms(container) == [(1, 1.0, "champion")]


def declare(container: Container, rollout: str) -> None:
    """Apply the project with another rollout."""
    folder = container.settings.home.parent / "again"
    folder.mkdir(exist_ok=True)
    (folder / "project.py").write_text(PROJECT.format(rollout=rollout))
    rows(200).write_csv(folder / "rows.csv")
    (folder / "orders.csv").write_text("id,spent\n-1,0.5\n")
    apply(container, load_project(folder))


@pytest.mark.parametrize("rollout", [AB])
def test_a_test_that_is_declared_no_more_ends_and_its_champion_answers_alone(container: Container) -> None:
    trained(container)
    declare(container, "None")
    did = Controller(container).tick().did
    assert "ended the A/B test of shop: another rollout is declared" in did
    assert [trial.state for trial in container.store.find(Trial)] == ["stopped"]
    assert (arms(container), stage(container, 2)) == ([(1, 1.0, "champion")], "superseded")


@pytest.mark.parametrize("rollout", [AB])
def test_a_version_that_comes_in_at_once_ends_a_test_that_is_declared_no_more(container: Container) -> None:
    trained(container)
    declare(container, "None")
    assert trained(container) == 3
    assert (arms(container), stage(container, 2)) == ([(3, 1.0, "champion")], "superseded")
    rollback(container, "shop", actor="user", reason="worse")  # and not the test that ran before it
    assert arms(container) == [(1, 1.0, "champion")]


@pytest.mark.parametrize("rollout", [AB])
def test_who_asks_for_a_version_by_its_number_is_in_no_test(container: Container) -> None:
    trained(container)
    answered(container, 1, list(range(40)))
    answered(container, 2, list(range(100, 140)), arm="variant")
    answered(container, 2, list(range(200, 400)))  # by its number
    for first in (0, 100, 200):
        spent(container, first, 40 if first < 200 else 200, 10)
    Controller(container).tick()
    (trial,) = container.store.find(Trial)
    assert {one: seen["outcomes"] for one, seen in trial.statistics["arms"].items()} == {"1": 40, "2": 40}


def test_a_version_that_changed_since_it_was_looked_at_is_not_promoted(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trained(container) == 2
    rollback(container, "shop", actor="user", reason="look")

    def meanwhile(container: Container, record: records.ModelVersion) -> None:
        with container.store.begin() as tx:
            tx.put(msgspec.structs.replace(record, stage="rejected", stage_reason="signed by nobody"))

    monkeypatch.setattr(admission, "obstacle", meanwhile)
    with pytest.raises(Conflict, match="changed meanwhile"):
        promote(container, "shop", 2, actor="user", reason="go")
    assert arms(container) == [(1, 1.0, "champion")]


def test_a_champion_that_fails_soon_after_it_took_over_gives_way_and_an_incident_says_so(
    container: Container,
) -> None:
    controller = Controller(container)
    assert trained(container) == 2
    assert arms(container) == [(2, 1.0, "champion")]
    controller.tick()
    answered(container, 2, list(range(1000, 1050)))
    answered(container, 2, [1], status=503, error="StoreUnavailable: away", score=None)
    controller.tick()
    assert arms(container) == [(2, 1.0, "champion")]
    advance(container, timedelta(seconds=30))
    answered(container, 2, list(range(2000, 2020)), status=500, error="ValueError: no", score=None)
    advance(container, timedelta(seconds=2))
    did = controller.tick().did
    assert arms(container) == [(1, 1.0, "champion")], did
    assert (stage(container, 1), stage(container, 2)) == ("champion", "rolled-back")
    (alert,) = incidents(container)
    assert alert.action == "rolled back to @1"
    assert "of 71 requests failed" in alert.summary
    assert alert.detail["done"] == {"from": 2, "to": 1, "generation": 3}
    assert alert.detail["seen"]["availability"]["broken"]
    assert alert.detail["seconds"]["since_first_failure"] == 2.0
    assert alert.detail["seconds"]["to_roll_back"] >= 0
    answered(container, 1, list(range(3000, 3020)), status=500, error="ValueError: no", score=None)
    controller.tick()
    controller.tick()
    assert arms(container) == [(1, 1.0, "champion")]  # not back and forth: the other one was rolled back


def test_a_slow_moment_is_one_observation_and_a_slow_version_is_not(container: Container) -> None:
    controller = Controller(container)
    trained(container)
    controller.tick()
    answered(container, 2, list(range(1000, 1500)), latency_us=400_000)
    controller.tick()
    assert arms(container) == [(2, 1.0, "champion")]
    for look in range(4):
        answered(container, 2, list(range(2000 + look * 10, 2010 + look * 10)), latency_us=400_000)
        controller.tick()
    assert arms(container) == [(1, 1.0, "champion")]
    (alert,) = incidents(container)
    assert "p99" in alert.summary


def test_a_champion_past_its_probation_is_a_matter_for_people(container: Container) -> None:
    trained(container)
    Controller(container).tick()
    advance(container, timedelta(days=2))
    answered(container, 2, list(range(2000, 2050)), status=500, error="ValueError: no", score=None)
    Controller(container).tick()
    assert arms(container) == [(2, 1.0, "champion")]


def test_a_shadow_answers_nothing_and_its_agreement_is_told(container: Container) -> None:
    trained(container)
    with pytest.raises(Conflict, match="it answers"):
        start_shadow(container, "shop", 2, share=0.1, actor="user", reason="look")
    with pytest.raises(BadRequest, match="1 is left"):
        start_shadow(container, "shop", 1, share=1.5, actor="user", reason="look")
    with pytest.raises(NotFound, match="no model/shop@9"):
        start_shadow(container, "shop", 9, share=0.1, actor="user", reason="look")
    start_shadow(container, "shop", 1, share=0.25, actor="user", reason="look")
    assert arms(container) == [(2, 1.0, "champion"), (1, 0.25, "shadow")]
    answered(container, 2, [1])
    with pytest.raises(NotFound, match="shown no request"):
        agreement(container, "shop")
    answered(container, 2, [10, 11, 12], shadow_version=1, shadow_score=0.4)
    answered(container, 2, [13], shadow_version=1, shadow_score=0.8)
    answered(container, 2, [14], shadow_version=1, shadow_error="ValueError: no")
    answered(container, 2, [15], shadow_version=1)
    answered(container, 9, [16], arm="canary", shadow_version=1, shadow_score=0.9)
    label(container, "shop", {"p10": 1, "p13": 0})
    found = agreement(container, "shop")
    assert (found.shown, found.compared, found.failed, found.missing) == (6, 4, 1, 1)
    assert found.difference["mean_size"] == pytest.approx((3 * 0.1 + 0.3) / 4)
    assert found.difference["largest"] == pytest.approx(0.3)
    assert found.same_side == 0.75
    assert found.correlation is None
    assert found.errors == ["ValueError: no"]
    # The keys 10 to 13 have labels in the dataset too; those by id come first.
    assert found.labelled == 4
    assert set(found.log_loss) == {"shadow", "answered"}
    promote(container, "shop", 1, actor="user", reason="it was better")
    assert arms(container) == [(1, 1.0, "champion")]
    with pytest.raises(Conflict, match="no shadow"):
        stop_shadow(container, "shop", actor="user", reason="done")


def test_other_arms_leave_a_shadow_where_it_is(container: Container) -> None:
    trained(container)
    trained(container)
    start_shadow(container, "shop", 1, share=0.5, actor="user", reason="look")
    promote(container, "shop", 2, actor="user", reason="back")
    assert arms(container) == [(2, 1.0, "champion"), (1, 0.5, "shadow")]
    stop_shadow(container, "shop", actor="user", reason="done")
    assert arms(container) == [(2, 1.0, "champion")]


def test_labels_by_prediction_id_are_checked_and_count_once(container: Container) -> None:
    with pytest.raises(NotFound, match="no deployment/none"):
        label(container, "none", {"p1": 1})
    with pytest.raises(BadRequest, match="no number"):
        label(container, "shop", {"p1": float("nan")})
    with pytest.raises(BadRequest, match="no labels"):
        label(container, "shop", {})
    answered(container, 1, [-5], shadow_version=7, shadow_score=0.1)
    label(container, "shop", {"prediction/p-5": True})
    label(container, "shop", {"p-5": False, "p-6": 1})
    found = agreement(container, "shop", 7)
    assert found.labelled == 1
    assert found.log_loss["shadow"] == pytest.approx(-np.log(0.1))
