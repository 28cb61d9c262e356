"""A training that searches for its parameters: within its budget, each trial a run, and what did best is trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

import homeostat as hs
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.settings import Settings
from homeostat.app.tracking.runs import create_run
from homeostat.app.training import submit
from homeostat.app.trainingdata import Rows, Split
from homeostat.app.tuning import PARENT, _parts
from homeostat.domain.errors import DeclarationError
from homeostat.domain.records import Run
from homeostat.domain.tracking import Metric, Param, RunTag
from tests.app.churning import declare, trained


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home")) as made:
        yield made


def trials(container: Container, parent: str) -> list[tuple[Run, str, float | None]]:
    """The runs below a training, with the parameter that each tried and its loss."""
    found = []
    for run in container.store.find(Run, ("kind", "=", "run"), order=["created_at", "id"]):
        tag = container.store.get(RunTag, run.id, PARENT)
        assert tag is not None
        assert tag.value == parent
        (param,) = container.store.find(Param, ("run", "=", run.id))
        losses = container.store.find(Metric, ("run", "=", run.id), ("key", "=", "log_loss"))
        found.append((run, param.value, losses[0].value if losses else None))
    return found


def test_the_best_of_the_trials_is_trained(container: Container, tmp_path: Path) -> None:
    declare(container, tmp_path / "project", 'tune=hs.Tuning({"C": (-1.0, 1.0)}, trials=6),')
    version = trained(container)
    run = container.store.get(Run, version.run)
    assert run is not None
    found = trials(container, run.id)
    assert len(found) == 6
    assert found[0][1] == "1.0"  # what is declared is tried first
    failed = [one for one, value, _ in found if float(value) <= 0]
    assert failed, "none of the trials could not be"
    assert all(one.state == "failed" and "InvalidParameterError" in one.error for one in failed)
    losses = {float(value): loss for _, value, loss in found if loss is not None}
    assert run.params == {"C": min(losses, key=lambda value: losses[value] or 0.0)}
    (param,) = container.store.find(Param, ("run", "=", run.id))
    assert float(param.value) == run.params["C"]
    known = container.store.count(Run)
    by_hand = trained(container, C=0.5)  # who names parameters searches for none
    assert container.store.count(Run) == known + 1
    made = container.store.get(Run, by_hand.run)
    assert made is not None
    assert made.params == {"C": 0.5}


def test_no_trial_is_begun_once_its_time_is_over(container: Container, tmp_path: Path) -> None:
    declare(container, tmp_path / "project", 'tune=hs.Tuning({"C": (0.1, 1.0)}, trials=500, within="1ms"),')
    version = trained(container)
    assert len(trials(container, version.run)) < 500


def test_trials_end_with_the_process_of_their_training(container: Container, tmp_path: Path) -> None:
    declare(container, tmp_path / "project", 'tune=hs.Tuning({"C": (0.1, 1.0)}),')
    run = submit(container, "churn", reason="asked for")
    trial = create_run(container, run.experiment, tags={PARENT: run.id})
    other = create_run(container, run.experiment)
    with container.store.begin() as tx:
        tx.put(msgspec.structs.replace(run, state="running", attempt=3))
    Controller(container).tick()
    states = {one.id: one.state for one in container.store.find(Run)}
    assert (states[run.id], states[trial.id], states[other.id]) == ("failed", "failed", "running")


@pytest.mark.parametrize("time", ["at", None])
def test_trials_of_a_ranking_are_measured_on_whole_queries(time: str | None) -> None:
    shown = hs.Dataset("shown", key="id", time=time)
    task = hs.Ranking(label="y", source=hs.Dataset("clicks", key="id"), request=shown, query="search")
    model = hs.Model("order", task=task, train=lambda data: None)
    searches = [f"s{query:02}" for query in range(20) for _ in range(1 + query % 7)]
    requests = pl.DataFrame({"id": range(len(searches)), "search": searches, "at": range(len(searches))})
    rows = Rows(requests, requests.select("id"), np.zeros(len(searches)))
    learned, measured = (set(one.requests["search"]) for one in _parts(model, Split(rows, rows, {}), 0))
    assert not learned & measured
    assert (len(learned), len(measured)) == (16, 4)
    assert time is None or min(measured) > max(learned)


@pytest.mark.parametrize("wrong", [(1.0, 0.1), (0.0, 1.0, "log"), ["one"], (1, 2, 3, 4), "C"])
def test_a_place_that_cannot_be_searched_is_refused(wrong: object) -> None:
    with pytest.raises(DeclarationError, match="'C'"):
        hs.Tuning({"C": wrong})


def test_what_the_training_function_does_not_take_is_refused(container: Container, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="does not take"):
        declare(container, tmp_path / "project", 'tune=hs.Tuning({"depth": (2, 8)}),')
