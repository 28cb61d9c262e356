"""What Homeostat's own client tracks, as the official client of MLflow sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import homeostat as hs
from tests.mlflow.official import Client


def test_the_official_client_sees_a_native_run(
    client: Client, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOMEOSTAT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOMEOSTAT_SERVER", server)
    (tmp_path / "big.bin").write_bytes(b"homeostat" * 1_000_000)
    with hs.run("native", name="outer", params={"lr": 0.1}, tags={"t": "1"}, notes="why", sample=0) as outer:
        for step in range(5000):
            hs.log(loss=1 / (step + 1), step=step)
        hs.log({"never": float("nan")}, step=1)
        hs.log_input(pl.DataFrame({"a": [1, 2]}), name="rows")
        hs.log_artifact(tmp_path / "big.bin", "models")
        hs.log(image=hs.Image([[0.0, 1.0]]), step=2)
        with hs.run("native", name="inner") as inner:
            hs.log(loss=3.0)

    def seen(outer: str, inner: str) -> dict[str, Any]:
        import math
        from pathlib import Path

        import mlflow

        client = mlflow.MlflowClient()
        run = client.get_run(outer)
        history = client.get_metric_history(outer, "loss")
        experiment = client.get_experiment_by_name("native").experiment_id
        children = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{outer}'")
        path = client.download_artifacts(outer, "models/big.bin")
        values = client.list_artifacts(outer, "values/image")
        inputs = run.inputs.dataset_inputs
        return {
            "name": run.info.run_name,
            "status": run.info.status,
            "params": run.data.params,
            "tags": {
                k: v
                for k, v in run.data.tags.items()
                if k in ("t", "mlflow.note.content", "mlflow.source.type")
            },
            "loss": run.data.metrics["loss"],
            "never": math.isnan(run.data.metrics["never"]),
            "steps": [point.step for point in history] == list(range(5000)),
            "children": [child.info.run_id for child in children] == [inner],
            "size": Path(path).stat().st_size,
            "values": sorted(Path(file.path).suffix for file in values),
            "inputs": [[one.dataset.name, [tag.value for tag in one.tags]] for one in inputs],
            "captured": len(client.list_artifacts(outer, "captured")),
        }

    assert client(seen, outer.id, inner.id) == {
        "name": "outer",
        "status": "FINISHED",
        "params": {"lr": "0.1"},
        "tags": {"t": "1", "mlflow.note.content": "why", "mlflow.source.type": "LOCAL"},
        "loss": 1 / 5000,
        "never": True,
        "steps": True,
        "children": True,
        "size": 9_000_000,
        "values": [".json", ".png"],
        "inputs": [["rows", ["training"]]],
        "captured": 1,
    }
