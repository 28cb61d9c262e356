"""What MLflow's own folder holds, and what the official client then finds on a Homeostat that imported it: the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeostat.app.container import Container
from homeostat.app.importing import import_tracking
from homeostat.app.settings import Settings
from tests.adapters.sources import places
from tests.mlflow.official import Evaluator
from tests.server.ups import Up


@pytest.fixture(scope="module")
def mlruns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("theirs")
    root = places.mlruns(folder)
    for path in root.rglob("meta.yaml"):  # MLflow itself looks for files where they were made
        path.write_text(path.read_text().replace("/srv/mlflow/folder", str(folder)))
    return root


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, mlruns: Path) -> Iterator[str]:
    """A server, into whose store the folder was imported while it ran."""
    home = tmp_path_factory.mktemp("imported") / "home"
    up = Up(home).ready()
    with Container(Settings(home=home)) as container:
        assert import_tracking(container, container.source(str(mlruns))).failed == 0
    yield up.note.server
    up.stop()


def test_the_client_finds_the_same(evaluator: Evaluator, mlruns: Path, imported: str) -> None:
    def seen() -> dict[str, Any]:
        import os
        import tempfile
        from pathlib import Path

        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        import mlflow
        from mlflow.entities import ViewType

        client = mlflow.MlflowClient()
        found: dict[str, Any] = {}
        for experiment in client.search_experiments(view_type=ViewType.ALL):
            found[f"experiment {experiment.experiment_id}"] = [
                experiment.name,
                experiment.tags,
                experiment.lifecycle_stage,
                experiment.creation_time,
            ]
            for run in client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL):
                info, data = run.info, run.data
                files = {}
                if info.lifecycle_stage == "active":
                    with tempfile.TemporaryDirectory() as folder:
                        for item in client.list_artifacts(info.run_id, "notes"):
                            path = client.download_artifacts(info.run_id, item.path, folder)
                            files[item.path] = [item.file_size, Path(path).read_text()]
                found[f"run {info.run_id}"] = [
                    [info.run_name, info.status, info.start_time, info.end_time, info.lifecycle_stage],
                    [info.experiment_id, info.user_id],
                    [data.params, data.tags, {key: str(value) for key, value in data.metrics.items()}],
                    sorted([read.dataset.name, read.dataset.digest] for read in run.inputs.dataset_inputs),
                    sorted([made.model_id, made.step] for made in run.outputs.model_outputs),
                    files,
                    {
                        key: sorted(
                            {
                                (m.timestamp, m.step, str(m.value))
                                for m in client.get_metric_history(info.run_id, key)
                            }
                        )
                        for key in data.metrics
                        # MLflow writes the step of this one, and reads it back as 0, since its line names a dataset.
                        if key != "on_model"
                    },
                ]
        for model in client.search_registered_models():
            found[f"model {model.name}"] = [model.description or "", model.tags, model.creation_timestamp]
            for version in client.search_model_versions(f"name = '{model.name}'"):
                found[f"version {model.name} {version.version}"] = [
                    [version.current_stage, version.tags, version.description or "", version.run_id],
                    [version.creation_timestamp, version.last_updated_timestamp, list(version.aliases)],
                ]
        for model in client.search_logged_models(
            [e.experiment_id for e in client.search_experiments()], order_by=[{"field_name": "name"}]
        ):
            found[f"logged model {model.model_id}"] = [
                [model.name, str(model.status), model.source_run_id, model.creation_timestamp],
                [model.params, model.tags],
                sorted([m.key, m.dataset_name or "", str(m.value), m.step] for m in model.metrics),
            ]
        best = client.get_model_version_by_alias("churn", "best")
        found["best"] = [str(best.version), best.run_id]
        return found

    theirs = evaluator.call(f"file:{mlruns}", seen)
    ours = evaluator.call(imported, seen)
    for name, parts in theirs.items():
        for ours_part, part in zip(ours[name], parts, strict=True):
            assert ours_part == part, name
    assert ours.keys() == theirs.keys()
    assert len([key for key in theirs if key.startswith("run ")]) == 6
    assert len([key for key in theirs if key.startswith("version ")]) == 2


def test_a_model_that_was_imported_is_loaded(evaluator: Evaluator, imported: str) -> None:
    def answers() -> list[int]:
        import mlflow
        import numpy as np

        model = mlflow.pyfunc.load_model("models:/churn@best")
        return [int(value) for value in model.predict(np.array([[0, 1], [4, 5]]))]

    assert evaluator.call(imported, answers) == [0, 1]
