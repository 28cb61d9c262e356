"""Runs in the environment of MLflow's server: fills its database with runs, which over its API takes many minutes.

``python mlflow_runs.py URL``, with the experiment and the runs (id, metrics, params and tags) as JSON on stdin.
"""

from __future__ import annotations

import json
import sys

import sqlalchemy as sa


def main() -> None:
    asked = json.load(sys.stdin)
    engine = sa.create_engine(sys.argv[1])
    tables = sa.MetaData()
    tables.reflect(engine, only=["runs", "metrics", "latest_metrics", "params", "tags"])
    runs, metrics, params, tags = [], [], [], []
    for number, run in enumerate(asked["runs"]):
        id = run["id"]
        runs.append(
            {
                "run_uuid": id,
                "name": id,
                "source_type": "UNKNOWN",
                "source_name": "",
                "source_version": "",
                "entry_point_name": "",
                "user_id": "bench",
                "status": "FINISHED",
                "start_time": number,
                "lifecycle_stage": "active",
                "artifact_uri": f"mlflow-artifacts:/{asked['experiment']}/{id}/artifacts",
                "experiment_id": int(asked["experiment"]),
            }
        )
        point = {"run_uuid": id, "timestamp": number, "step": 0, "is_nan": False}
        metrics += [point | {"key": key, "value": value} for key, value in run["metrics"].items()]
        params += [{"run_uuid": id, "key": key, "value": value} for key, value in run["params"].items()]
        tags += [{"run_uuid": id, "key": key, "value": value} for key, value in run["tags"].items()]
    with engine.begin() as connection:
        connection.execute(tables.tables["runs"].insert(), runs)
        connection.execute(tables.tables["metrics"].insert(), metrics)
        connection.execute(tables.tables["latest_metrics"].insert(), metrics)
        connection.execute(tables.tables["params"].insert(), params)
        connection.execute(tables.tables["tags"].insert(), tags)


if __name__ == "__main__":
    main()
