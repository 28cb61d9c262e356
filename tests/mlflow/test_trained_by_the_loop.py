"""Versions that the loop trained, loaded by the official client: they answer there as they do here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.modelcard import card
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.registry import directories
from homeostat.app.registry.contents import whole_version
from homeostat.app.registry.deprecation import deprecate
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.engine.registry import package
from tests.mlflow.official import Client, Evaluator
from tests.server.ups import Up

pytestmark = pytest.mark.slow

PROJECT = """
import homeostat as hs
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from xgboost import XGBClassifier
from steps import Cut

customers = hs.Dataset("customers", key="id", path="customers.csv")

def declared(name, estimator, **more):
    def train(data, *, seed: int = 0):
        return estimator.fit(data.X, data.y)
    return hs.Model(name, task=hs.Binary(label="churned", source=customers), train=train, **more)

trees = declared("trees", HistGradientBoostingClassifier(max_iter=5))
own = declared(
    "own", make_pipeline(Cut(2.0), RandomForestClassifier(5, random_state=0)), trusted=["steps.Cut"]
)
boosted = declared("boosted", XGBClassifier(n_estimators=5))
"""
STEPS = """
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

class Cut(TransformerMixin, BaseEstimator):
    def __init__(self, at):
        self.at = at
    def fit(self, X, y=None):
        return self
    def transform(self, X):
        return np.clip(np.asarray(X, dtype=float), -self.at, self.at)
"""
MODELS = ("trees", "own", "boosted")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the loop has trained a version of each model."""
    folder = tmp_path_factory.mktemp("loop")
    rng = np.random.default_rng(0)
    usage, age = rng.normal(size=(2, 300))
    frame = {"id": range(300), "usage": usage, "age": age, "churned": (usage + age > 0).astype(int)}
    project = folder / "project"
    project.mkdir()
    pl.DataFrame(frame).write_csv(project / "customers.csv")
    (project / "project.py").write_text(PROJECT)
    (project / "steps.py").write_text(STEPS)
    with Container(Settings(home=folder / "home")) as container:
        apply(container, load_project(project))
        for name in MODELS:
            assert execute(container, submit(container, name, reason="first", params={"seed": 7}).id)
        react_all(container)
    return folder / "home"


@pytest.fixture(scope="module")
def client(home: Path, evaluator: Evaluator) -> Iterator[Client]:
    up = Up(home).ready()
    yield Client(evaluator, up.note.server)
    up.stop()


@pytest.mark.parametrize("name", MODELS)
def test_a_champion_answers_there_as_here(home: Path, client: Client, name: str) -> None:
    def asked(name: str, columns: list[str], rows: list[list[float]]) -> dict[str, Any]:
        import mlflow
        import numpy as np
        import pandas as pd

        uri = f"models:/{name}@champion"
        X = pd.DataFrame(rows, columns=columns)
        model = mlflow.pyfunc.load_model(uri)
        said = np.asarray(model.predict(X))
        found = {"pyfunc": (said[:, -1] if said.ndim == 2 else said).tolist(), "run": model.metadata.run_id}
        flavors = mlflow.models.get_model_info(uri).flavors
        if "sklearn" in flavors:
            found["flavor"] = mlflow.sklearn.load_model(uri).predict_proba(X)[:, 1].tolist()
        else:
            import xgboost

            found["flavor"] = mlflow.xgboost.load_model(uri).predict(xgboost.DMatrix(X)).tolist()
        found["columns"] = model.metadata.get_input_schema().input_names()
        found["outputs"] = model.metadata.get_output_schema().to_dict()
        found["example"] = model.input_example.columns.tolist()
        found["answered"] = len(model.predict(model.input_example))
        found["requirements"] = mlflow.pyfunc.get_model_dependencies(uri)[-22:]
        return found

    with Container(Settings(home=home)) as container:
        files = directories.export_files(container, name, "champion", "package")
        record = container.store.find(directories.ModelVersion, ("model", "=", name))[0]
        rows = np.random.default_rng(1).normal(size=(20, 2))
        frame = pl.DataFrame(rows, schema=["usage", "age"])
        from homeostat.app.code import find_model
        from homeostat.app.projects import checkout, importing
        from homeostat.domain.records import Run

        run = container.store.get(Run, record.run)
        assert run is not None
        with importing(checkout(container.blobs, run.code, home)):
            loaded = package.load(
                container.blobs, record.manifest, find_model(container, name, run.code).trusted
            )
        wanted = loaded.predict(frame)
        exported = directories.export_files(container, name, "champion")
    assert files.keys() == record.manifest["files"].keys()
    found = client(asked, name, frame.columns, rows.tolist())
    np.testing.assert_allclose(found["pyfunc"], wanted, atol=1e-6)
    np.testing.assert_allclose(found["flavor"], wanted, atol=1e-6)
    assert found["run"] == record.run
    assert found["columns"] == ["usage", "age"] == found["example"]
    assert found["outputs"][0]["tensor-spec"]["shape"][0] == -1
    assert found["answered"] == 1
    assert found["requirements"].endswith("requirements.txt")
    # What the client downloads is what `homeostat models export` writes.
    assert client(_downloaded, name) == {path: len(data) for path, data in sorted(exported.items())}


def _downloaded(name: str) -> dict[str, int]:
    from pathlib import Path

    import mlflow

    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{name}@champion"))
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "registered_model_meta"
    }


def test_what_a_client_registers_is_shown_with_its_parts(home: Path, client: Client) -> None:
    def registered() -> str:
        import mlflow
        import pandas as pd
        from sklearn.linear_model import LogisticRegression

        X = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0]})
        mlflow.set_experiment("by hand")
        with mlflow.start_run() as run:
            mlflow.log_param("C", 1.0)
            mlflow.log_metric("auc", 0.9)
            mlflow.log_input(mlflow.data.from_pandas(X, name="rows"), "training")
            mlflow.sklearn.log_model(
                LogisticRegression().fit(X, [0, 0, 1, 1]),
                name="model",
                input_example=X.head(2),
                registered_model_name="hand",
                pip_requirements=["scikit-learn==1.7.2", "mlflow"],
            )
        return str(run.info.run_id)

    run = client(registered)
    with Container(Settings(home=home)) as container:
        of = whole_version(container, "hand", "1").contents
        made = card(container, "hand", "1")
    assert of is not None
    assert (of.run, of.params, of.metrics) == (f"run/{run}", {"C": "1.0"}, {"auc": 0.9})
    assert [one.name for one in of.features] == ["a", "b"]
    assert of.shapes["features"] == [-1, 2]
    assert of.example == {"a": 0.0, "b": 1.0}
    assert of.environment == {"scikit-learn": "1.7.2"}
    assert [one.ref for one in of.data] == [f"rows@{of.data[0].digest}"]
    assert {"gates", "slices", "owner"} <= {one.field for one in made.missing}
    assert not {"data", "metrics", "features", "example"} & {one.field for one in made.missing}


def test_the_client_sees_that_a_version_is_deprecated(home: Path, client: Client) -> None:
    def seen() -> list[Any]:
        import mlflow

        found = mlflow.MlflowClient().get_model_version_by_alias("trees", "champion")
        return [found.tags["homeostat.deprecated_on"], found.tags["homeostat.deprecated_because"]]

    with Container(Settings(home=home)) as container:
        deprecate(container, "trees", "champion", on=datetime(2099, 12, 31, tzinfo=UTC), reason="older data")
    assert client(seen) == ["2099-12-31", "older data"]
