"""Inputs and outputs: recorded once, all of a call or nothing, and told to lineage by whatever way they came."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeostat.app import tracking
from homeostat.app.container import Container
from homeostat.app.logged_models import create_logged_model
from homeostat.app.settings import Settings
from homeostat.domain.errors import BadRequest
from homeostat.domain.events import Event
from homeostat.domain.tracking import RunInput, RunModel


@pytest.fixture
def container(tmp_path: Path, store_url: str) -> Iterator[Container]:
    with Container(Settings(home=tmp_path, store=store_url)) as made:
        yield made


def read(name: str, kind: str = "local", source: str = "s", **tags: str) -> RunInput:
    return RunInput(run="", name=name, digest="d", source_type=kind, source=source, tags=tags)


def told(container: Container, run: str) -> list[Event]:
    found = container.ledger.find(subject=f"run/{run}", kinds=["run.read", "run.produced"])
    return sorted(found, key=lambda event: event.seq)


def up(container: Container, ref: str) -> set[tuple[str, str]]:
    return {(edge.source, edge.role) for edge in container.ledger.edges(ref, "up")}


def test_datasets_are_recorded_once_and_told_once(container: Container) -> None:
    run = tracking.create_run(container, 0)
    context: dict[str, Any] = {"mlflow.data.context": "train"}
    tracking.log_inputs(container, run.id, [read("a", **context), read("a")])
    tracking.log_inputs(container, run.id, [read("a"), read("b", source="x" * 900)])
    tracking.log_inputs(container, run.id, [read("b")])
    found = {one.name: one for one in tracking.run_data(container, [run.id])[run.id].inputs}
    assert (found["a"].context, found["a"].run, sorted(found)) == ("train", run.id, ["a", "b"])
    first, second = (event.body["datasets"] for event in told(container, run.id))
    assert first == [{"name": "a", "digest": "d", "source": "s"}]
    assert [(one["name"], len(one["source"])) for one in second] == [("b", 500)]


def test_datasets_and_models_that_are_kept_here_are_where_a_run_came_from(container: Container) -> None:
    run, other = tracking.create_run(container, 0), tracking.create_run(container, 0)
    model = create_logged_model(container, 0, name="m", run=other.id)
    tracking.log_inputs(
        container,
        run.id,
        [read("f", "homeostat", "dataset/f@3"), read("g", "homeostat", "any text"), read("h")],
        models=[model.id, "m-elsewhere"],
    )
    assert up(container, f"run/{run.id}") == {("dataset/f@3", "input"), (f"logged-model/{model.id}", "input")}
    assert up(container, f"logged-model/{model.id}") == {(f"run/{other.id}", "produced")}


def test_models_that_were_begun_elsewhere_are_told_as_outputs(container: Container) -> None:
    run = tracking.create_run(container, 0)
    own = create_logged_model(container, 0, name="own", run=run.id)
    spare = create_logged_model(container, 0, name="spare")
    tracking.log_outputs(container, run.id, {own.id: 0, spare.id: 1})
    tracking.log_outputs(container, run.id, {own.id: 2, spare.id: 3})
    assert [event.body["models"] for event in told(container, run.id)] == [[spare.id]]
    assert up(container, f"logged-model/{spare.id}") == {(f"run/{run.id}", "produced")}
    steps = {one.model: one.step for one in container.store.find(RunModel, ("run", "=", run.id))}
    assert steps == {own.id: 2, spare.id: 3}


def test_one_input_that_cannot_be_leaves_nothing(container: Container) -> None:
    run = tracking.create_run(container, 0)
    with pytest.raises(BadRequest, match="Dataset name cannot be None or empty"):
        tracking.log_inputs(container, run.id, [read("a"), read("")], models=["m"])
    assert tracking.run_data(container, [run.id])[run.id].inputs == []
    assert container.store.count(RunModel) == 0
    assert told(container, run.id) == []
