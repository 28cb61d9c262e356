"""Another task under the name of a model that has versions is refused: their answers would be misread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from homeostat.app.apply import apply, plan
from homeostat.app.container import Container
from homeostat.app.projects import Declared, load_project
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.domain.errors import DeclarationError
from homeostat.domain.records import Project

PROJECT = """
from typing import Annotated
import homeostat as hs
from sklearn.dummy import DummyClassifier, DummyRegressor

class House(hs.Contract):
    id: int
    width: float
    kind: str
    dear: bool
    price: float

houses = hs.Dataset("houses", key="id", path="houses.csv", contract=House)

def classify(data):
    return DummyClassifier().fit(data.X, data.y)

def fit(data):
    return DummyRegressor().fit(data.X, data.y)

@hs.on_request
def asked(r):
    return r.select("width")

{model}
"""
KIND = """
kind = hs.Model(
    "kind",
    features=[asked],
    task=hs.MultiClass(label="kind", source=houses, among={among}),
    train=classify,
)
"""
THREE = KIND.format(among=["hut", "house", "villa"])


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home")) as made:
        yield made


def declare(container: Container, folder: Path, model: str) -> None:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    width = rng.normal(size=60)
    houses = {"id": range(60), "width": width, "kind": ["hut", "house", "villa"] * 20}
    pl.DataFrame(houses | {"dear": width > 0, "price": width}).write_csv(folder / "houses.csv")
    (folder / "project.py").write_text(PROJECT.format(model=model))
    apply(container, load_project(folder))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (KIND.format(among=["villa", "house", "hut"]), "multiclass of 'villa', 'house', 'hut'"),
        (KIND.format(among=["hut", "house", "villa", "tent"]), "'tent'"),
        (
            'kind = hs.Model("kind", features=[asked], task=hs.Binary(label="dear", source=houses), train=classify)',
            "is binary",
        ),
        (
            'kind = hs.Model("kind", features=[asked], task=hs.Regression(label="price", source=houses), train=fit)',
            "is regression",
        ),
    ],
)
def test_another_task_is_refused_once_there_are_versions(
    container: Container, tmp_path: Path, model: str, said: str
) -> None:
    folder = tmp_path / "project"
    declare(container, folder, THREE)
    assert execute(container, submit(container, "kind", reason="first").id) is not None
    before = container.store.find(Project)
    with pytest.raises(DeclarationError, match="would be misread") as error:
        declare(container, folder, model)
    assert said in error.value.message
    assert "multiclass of 'hut', 'house', 'villa'" in error.value.message
    assert '"kind-2"' in error.value.remedy
    assert container.store.find(Project) == before
    # Nor by way of a project without it.
    declare(container, folder, "")
    with pytest.raises(DeclarationError, match="would be misread"):
        plan(container, load_project_of(folder, model))
    declare(container, folder, THREE)  # what it was is fine


def load_project_of(folder: Path, model: str) -> Declared:
    (folder / "project.py").write_text(PROJECT.format(model=model))
    return load_project(folder)


def test_without_versions_it_may_change(container: Container, tmp_path: Path) -> None:
    declare(container, tmp_path / "project", THREE)
    declare(container, tmp_path / "project", KIND.format(among=["villa", "house", "hut"]))
    (made,) = container.store.find(Project)
    assert made.declared["model/kind"]["task"]["classes"] == ["villa", "house", "hut"]
