"""Trainings of the loop are runs of their model's experiment, with what they read, were given and measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeostat.app import tracking
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.projects import load_project
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.domain.errors import Conflict
from tests.app.test_loop import PROJECT, customers


@pytest.fixture
def container(store_url: str, tmp_path: Path) -> Iterator[Container]:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "project.py").write_text(PROJECT)
    customers(400).write_csv(folder / "customers.csv")
    with Container(Settings(home=tmp_path / "home", store=store_url)) as made:
        apply(made, load_project(folder))
        yield made


def test_a_training_is_found_as_a_run(container: Container) -> None:
    submitted = submit(
        container, "churn", reason="first model", params={"trees": 30}, actor="ada", tags={"team": "x"}
    )
    experiment = tracking.experiment_by_name(container, "churn")
    assert experiment is not None
    assert submitted.experiment == experiment.id
    (queued,) = tracking.search_runs(container, [experiment.id], "status = 'SCHEDULED'").items
    assert queued.id == submitted.id
    tracking.tag_run(container, submitted.id, "mlflow.runName", "renamed")

    version = execute(container, submitted.id)
    assert version is not None
    filter = "status = 'FINISHED' AND params.trees = '30' AND metrics.holdout_auc > 0.5 AND tags.team = 'x'"
    (found,) = tracking.search_runs(
        container,
        [experiment.id],
        f"{filter} AND dataset.name = 'customers' AND dataset.context = 'training'",
    ).items
    assert (found.id, found.name) == (submitted.id, "renamed")
    data = tracking.run_data(container, [found.id])[found.id]
    assert {one.key: one.value for one in data.metrics} == found.metrics
    assert data.tags == {
        "team": "x",
        "mlflow.user": "ada",
        "mlflow.note.content": "first model",
        "mlflow.runName": "renamed",
    }
    (read,) = data.inputs
    assert (read.source, json.loads(read.profile)) == ("dataset/customers@1", {"num_rows": 400})
    points = tracking.history(container, found.id, "holdout_auc")
    assert points.value.tolist() == [found.metrics["holdout_auc"]]
    assert container.ledger.verify().ok


def test_the_platform_keeps_the_state_of_its_trainings(container: Container) -> None:
    submitted = submit(container, "churn", reason="first")
    with pytest.raises(Conflict, match="whose state the platform keeps"):
        tracking.update_run(container, submitted.id, state="succeeded")
    assert tracking.update_run(container, submitted.id, name="mine").name == "mine"
    again = submit(container, "churn", reason="second")
    assert again.experiment == submitted.experiment
