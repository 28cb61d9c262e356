"""Make a folder and a database of MLflow with the same things in both. Run by MLflow's own Python; see README.md."""

import os
import shutil
import sqlite3
import sys
import zipfile
from pathlib import Path

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ["GIT_PYTHON_REFRESH"] = "quiet"
os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "false"
os.environ["LOGNAME"] = "ana"

import mlflow
import numpy as np
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression

BASE = Path("/srv/mlflow")
OUT = Path(sys.argv[1])


def log_everything() -> None:
    client = MlflowClient()
    first = client.create_experiment("first", tags={"team": "blue", "empty": ""})
    mlflow.set_experiment("first")
    with mlflow.start_run(run_name="one", tags={"note": "a\nb ü"}) as run:
        mlflow.log_params({"lr": 0.1, "nested/name": "x", "long": "y" * 600})
        for step in range(10):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metric("val/acc", float("nan"), step=3)
        mlflow.log_metric("val/inf", float("inf"), step=3)
        mlflow.log_metric("val/ninf", float("-inf"), step=3)
        rows = mlflow.data.from_numpy(np.arange(6).reshape(3, 2), name="rows")
        mlflow.log_input(rows, context="training", tags={"k": "v"})
        mlflow.log_text("hello", "notes/hello.txt")
        fitted = LogisticRegression().fit(np.arange(6).reshape(3, 2), [0, 1, 1])
        info = mlflow.sklearn.log_model(fitted, name="model", registered_model_name="churn")
        mlflow.log_metric("on_model", 0.5, step=1, model_id=info.model_id, dataset=rows)
        with mlflow.start_run(run_name="child", nested=True):
            mlflow.log_metric("x", 1)
    id = run.info.run_id
    failed = client.create_run(first, run_name="failed")
    client.set_terminated(failed.info.run_id, "FAILED")
    gone = client.create_run(first, run_name="gone")
    client.log_param(gone.info.run_id, "p", "1")
    client.delete_run(gone.info.run_id)
    going = client.create_run(first, run_name="going")
    client.log_metric(going.info.run_id, "m", 2.0)
    old = client.create_experiment("old")
    client.create_run(old, run_name="of old")
    client.delete_experiment(old)
    client.create_registered_model("empty", tags={"a": "b"}, description="none yet")
    client.set_registered_model_tag("churn", "owner", "ana")
    client.update_registered_model("churn", "about churn")
    client.create_model_version("churn", f"runs:/{id}/notes", id, tags={"q": "1"}, description="second")
    client.set_registered_model_alias("churn", "best", 1)
    client.set_model_version_tag("churn", "1", "x", "y")
    client.transition_model_version_stage("churn", "1", "Production")
    client.delete_model_version("churn", "2")
    client.create_model_version("churn", f"{run.info.artifact_uri}/notes", id)
    with mlflow.start_span("traced"):
        pass


def main() -> None:
    shutil.rmtree(BASE, ignore_errors=True)
    for name in ("folder", "database"):
        (BASE / name).mkdir(parents=True)
    os.chdir(BASE / "folder")
    mlflow.set_tracking_uri(f"file:{BASE}/folder/mlruns")
    log_everything()
    os.chdir(BASE / "database")
    mlflow.set_tracking_uri(f"sqlite:///{BASE}/database/mlflow.db")
    log_everything()
    for name in ("folder", "database"):
        with zipfile.ZipFile(OUT / f"mlflow_{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted((BASE / name / "mlruns").rglob("*")):
                archive.write(path, path.relative_to(BASE / name))
    with sqlite3.connect(BASE / "database" / "mlflow.db") as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in tables:
            if not database.execute(f"SELECT count(*) FROM {name}").fetchone()[0]:
                database.execute(f"DROP TABLE {name}")
        database.commit()
        script = "\n".join(line for line in database.iterdump() if not line.startswith("CREATE INDEX"))
    (OUT / "mlflow_database.sql").write_text(script + "\n")


sys.exit(main())
