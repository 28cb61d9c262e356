"""After a change of the world two candidates compete: from all rows, and from those since the change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import numpy as np
import polars as pl
import pytest

import homeostat as hs
from homeostat.adapters.clock import ManualClock
from homeostat.app.apply import apply, feature_set
from homeostat.app.changing import changed_at, learned, suspected_at
from homeostat.app.code import find_model
from homeostat.app.competing import persistent
from homeostat.app.container import Container
from homeostat.app.deliveries import Parcel, deliver
from homeostat.app.judging import judge
from homeostat.app.projects import load_project
from homeostat.app.rollouts import promote
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.app.trainingdata import Rows, Split, split
from homeostat.domain.records import ModelVersion, Run
from homeostat.engine.control.rules import Risen
from tests.app.backtest.streaming import CHANGE, END, START, history, project


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    tmp_path = tmp_path_factory.mktemp("world")
    tables = history(tmp_path / "tables")
    file = project(tmp_path / "answers")
    file.write_text(file.read_text().replace('    history="8d",\n', ""))
    with Container(Settings(home=tmp_path / "home")) as container:
        container.clock = ManualClock(END + timedelta(days=1))
        apply(container, load_project(file))
        for name in ("asked", "answered"):
            deliver(container, [Parcel(name, pl.read_parquet(tables / f"{name}.parquet"), "all")])
        yield container


def trained(
    container: Container, changed_at: datetime | None, suspected_at: datetime | None = None
) -> tuple[Run, ModelVersion]:
    made = submit(container, "answer", reason="to compare", changed_at=changed_at, suspected_at=suspected_at)
    version = execute(container, made.id)
    assert version is not None
    run = container.store.get(Run, made.id)
    assert run is not None
    return run, version


def test_data_are_cut_where_the_world_became_another(world: Container) -> None:
    run, version = trained(world, CHANGE)
    losses = {
        who: run.metrics[f"holdout_log_loss_{who}"] for who in ("all_data", "since_change", "no_change")
    }
    assert losses["since_change"] == min(losses.values())
    assert datetime.fromisoformat(run.tags["changed_at"]) == CHANGE
    assert version.tags["data_since"] == CHANGE.isoformat()
    assert run.metrics["holdout_log_loss"] == pytest.approx(losses["since_change"], abs=0.02)
    assert run.rows < 50 * (END - CHANGE).days


def test_data_are_cut_at_a_suspicion_that_is_right_and_the_next_training_knows_it(world: Container) -> None:
    run, version = trained(world, None, CHANGE)
    losses = {who: run.metrics[f"holdout_log_loss_{who}"] for who in ("all_data", "since_suspicion")}
    assert losses["since_suspicion"] < losses["all_data"]
    assert version.tags["data_since"] == CHANGE.isoformat()
    assert changed_at({}, run) == CHANGE
    model = find_model(world, "answer")
    rows = split(world, run, model, feature_set(world, model))
    assert (rows.changed_at, rows.suspected_at, rows.train.requests.height) == (None, CHANGE, run.rows)


def test_a_suspicion_that_is_wrong_costs_a_candidate_and_nothing_else(world: Container) -> None:
    run, version = trained(world, CHANGE, CHANGE + timedelta(days=1))
    assert {"all_data", "since_change", "since_suspicion"} <= {
        name.removeprefix("holdout_log_loss_") for name in run.metrics
    }
    assert version.tags["data_since"] == CHANGE.isoformat()
    assert changed_at({}, run) == CHANGE


def test_what_was_learned_before_a_suspected_change_counts_little(world: Container) -> None:
    run, _ = trained(world, None)
    model = replace(find_model(world, "answer"), retrain=hs.when(hs.new_labels(growth=1.0)))
    everything = learned(world, model, run)
    assert learned(world, model, run, CHANGE) < everything / 2
    assert learned(world, model, run, run.created_at + timedelta(days=1)) == everything


def test_only_what_is_likely_and_new_is_suspected(world: Container) -> None:
    run, _ = trained(world, CHANGE)
    likely = Risen(e=0.1, needed=20, rows=900, since=CHANGE, after=300, risen=False, suspected=True)
    later = msgspec.structs.replace(likely, since=CHANGE + timedelta(days=1))
    assert suspected_at({"losses": likely}, None) == CHANGE
    assert suspected_at({"losses": likely}, run) is None
    assert suspected_at({"losses": later}, run) == later.since
    assert suspected_at({"losses": msgspec.structs.replace(later, suspected=False)}, run) is None


def test_a_change_with_too_few_labels_since_is_not_told_apart(world: Container) -> None:
    run, version = trained(world, END - timedelta(days=1))
    assert "holdout_log_loss_all_data" not in run.metrics
    assert "data_since" not in version.tags


def test_rows_that_are_held_out_came_after_the_change_and_are_the_same_again(world: Container) -> None:
    run, version = trained(world, CHANGE)
    model = find_model(world, "answer")
    rows = split(world, run, model, feature_set(world, model))
    assert rows.holdout.requests["at"].min() >= CHANGE
    assert rows.train.requests["at"].min() == CHANGE
    assert rows.train.requests.height == run.rows
    assert rows.holdout.requests["at"].min() > rows.train.requests["at"].max()
    assert judge(world, "answer", version.version) == version


def test_the_champion_competes_and_data_are_not_cut_where_that_is_worse(world: Container) -> None:
    _, first = trained(world, CHANGE)
    promote(world, "answer", first.version, actor="somebody", reason="to have one")
    run, version = trained(world, START + timedelta(days=3))
    assert "data_since" in version.tags
    losses = {who: run.metrics[f"holdout_log_loss_{who}"] for who in ("all_data", "since_change", "champion")}
    assert losses["champion"] < losses["since_change"] < losses["all_data"]


def test_the_answer_that_nothing_changes_is_good_where_labels_stay() -> None:
    frame = pl.DataFrame({"x": range(100)})
    y = np.repeat([0, 1, 0, 1], 25)
    rows = Split(Rows(frame, frame, y), Rows(frame, frame, y), {})
    task = hs.Binary(label="y", source=hs.Dataset("labels", key="id"))
    found = persistent(task, rows)
    assert found.shape == (100,)
    assert ((found >= 0.5) == y).mean() > 0.9
