"""What people write: `mlflow.start_run`, `log_metric` and their kin, against a running Homeostat."""

from __future__ import annotations

import math
from typing import Any

from tests.mlflow.official import Client


def test_a_run_from_start_to_end(client: Client) -> None:
    def script() -> dict[str, Any]:
        import mlflow

        mlflow.set_experiment("a run from start to end")
        with mlflow.start_run(run_name="first", tags={"team": "tides"}, description="how it went") as run:
            mlflow.log_param("depth", 3)
            mlflow.log_params({"rate": 0.1, "loss": "log"})
            for step in range(5):
                mlflow.log_metric("loss", 1 / (step + 1), step=step)
            mlflow.log_metrics({"accuracy": 0.9, "f1": 0.8}, step=4)
            mlflow.set_tag("stage", "done")
            during = mlflow.get_run(run.info.run_id).info.status
        after = mlflow.get_run(run.info.run_id)
        history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
        return {
            "during": during,
            "status": after.info.status,
            "ended": after.info.end_time >= after.info.start_time,
            "name": after.info.run_name,
            "params": after.data.params,
            "metrics": after.data.metrics,
            "tags": {k: v for k, v in after.data.tags.items() if not k.startswith("mlflow.")},
            "note": after.data.tags["mlflow.note.content"],
            "named": after.data.tags["mlflow.runName"],
            "user": after.info.user_id == after.data.tags["mlflow.user"],
            "history": [[m.step, m.value] for m in history],
            "artifacts": after.info.artifact_uri.startswith("mlflow-artifacts:/"),
        }

    assert client(script) == {
        "during": "RUNNING",
        "status": "FINISHED",
        "ended": True,
        "name": "first",
        "params": {"depth": "3", "rate": "0.1", "loss": "log"},
        "metrics": {"loss": 0.2, "accuracy": 0.9, "f1": 0.8},
        "tags": {"team": "tides", "stage": "done"},
        "note": "how it went",
        "named": "first",
        "user": True,
        "history": [[0, 1.0], [1, 0.5], [2, 1 / 3], [3, 0.25], [4, 0.2]],
        "artifacts": True,
    }


def test_nested_failed_resumed_and_deleted_runs(client: Client) -> None:
    def script() -> dict[str, Any]:
        import mlflow

        mlflow.set_experiment("nested runs")
        with mlflow.start_run(run_name="parent") as parent:
            with mlflow.start_run(nested=True) as child:
                mlflow.log_metric("x", 1)
            try:
                with mlflow.start_run(nested=True) as failing:
                    raise RuntimeError("on purpose")
            except RuntimeError:
                pass
        with mlflow.start_run(run_id=parent.info.run_id):
            mlflow.log_param("resumed", "yes")
            resumed = mlflow.get_run(parent.info.run_id).info.status
        mlflow.delete_run(child.info.run_id)
        found = mlflow.search_runs(search_all_experiments=True, output_format="list")
        return {
            "parent": child.data.tags["mlflow.parentRunId"] == parent.info.run_id,
            "failed": mlflow.get_run(failing.info.run_id).info.status,
            "resumed": [resumed, mlflow.get_run(parent.info.run_id).data.params],
            "child": mlflow.get_run(child.info.run_id).info.lifecycle_stage,
            "named": child.info.run_name == child.data.tags["mlflow.runName"] != "",
            "found": child.info.run_id in {run.info.run_id for run in found},
        }

    assert client(script) == {
        "parent": True,
        "failed": "FAILED",
        "resumed": ["RUNNING", {"resumed": "yes"}],
        "child": "deleted",
        "named": True,
        "found": False,
    }


def test_numbers_of_every_kind(client: Client) -> None:
    def script() -> dict[str, Any]:
        import mlflow
        import numpy as np

        mlflow.set_experiment("numbers")
        with mlflow.start_run() as run:
            for value in (float("nan"), float("inf"), float("-inf"), 1e308, -1e-308, 0.1, 2**53):
                mlflow.log_metric("m", value)
            mlflow.log_metric("nan", float("nan"))
            mlflow.log_metric("array", np.float32(0.25))
            mlflow.log_metric("int", 3, step=-2)
        client = mlflow.MlflowClient()
        return {
            "m": [m.value for m in client.get_metric_history(run.info.run_id, "m")],
            "last": client.get_run(run.info.run_id).data.metrics,
            "step": client.get_metric_history(run.info.run_id, "int")[0].step,
        }

    gave = client(script)
    finite = [value for value in gave["m"] if math.isfinite(value)]
    assert sorted(finite) == [-1e-308, 0.1, 2**53, 1e308]
    assert {value for value in gave["m"] if math.isinf(value)} == {math.inf, -math.inf}
    assert sum(map(math.isnan, gave["m"])) == 1
    assert math.isnan(gave["last"]["nan"])
    assert (gave["last"]["array"], gave["last"]["int"], gave["step"]) == (0.25, 3.0, -2)


def test_datasets_that_a_run_read(client: Client) -> None:
    def script() -> dict[str, Any]:
        import mlflow
        import pandas as pd

        mlflow.set_experiment("datasets")
        frame = pd.DataFrame({"x": [1.0, 2.0], "y": [0, 1]})
        with mlflow.start_run() as run:
            mlflow.log_input(mlflow.data.from_pandas(frame, name="points", targets="y"), context="training")
            mlflow.log_input(mlflow.data.from_pandas(frame, name="points", targets="y"), context="training")
            mlflow.log_input(mlflow.data.from_pandas(frame, name="others"), context="training")
        read = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
        return {
            "names": [i.dataset.name for i in read],
            "tags": [{t.key: t.value for t in i.tags} for i in read],
            "type": read[0].dataset.source_type,
            "columns": "mlflow_colspec" in read[0].dataset.schema,
        }

    assert client(script) == {
        "names": ["points", "others"],  # as they were logged
        "tags": [{"mlflow.data.context": "training"}] * 2,
        "type": "code",
        "columns": True,
    }


def test_asynchronous_logging_loses_nothing(client: Client) -> None:
    def script() -> dict[str, Any]:
        import mlflow

        mlflow.set_experiment("asynchronous")
        with mlflow.start_run() as run:
            for step in range(300):
                last = mlflow.log_metric("m", step * 0.5, step=step, synchronous=False)
            mlflow.log_params({f"p{i}": i for i in range(50)}, synchronous=False).wait()
            last.wait()
            mlflow.flush_async_logging()
        client = mlflow.MlflowClient()
        history = client.get_metric_history(run.info.run_id, "m")
        return {
            "steps": [m.step for m in history] == list(range(300)),
            "params": len(client.get_run(run.info.run_id).data.params),
        }

    assert client(script) == {"steps": True, "params": 50}
