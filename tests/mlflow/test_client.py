"""`MlflowClient`, call by call."""

from __future__ import annotations

from typing import Any

from tests.mlflow.official import Client


def test_experiments(client: Client) -> None:
    def script() -> dict[str, Any]:
        import mlflow
        from mlflow.entities import ViewType
        from mlflow.exceptions import MlflowException

        client = mlflow.MlflowClient()
        id = client.create_experiment("tides", tags={"a": "1", "b": ""})
        made = client.get_experiment(id)
        try:
            client.create_experiment("tides")
        except MlflowException as error:
            taken = error.error_code
        client.set_experiment_tag(id, "a", "2")
        client.delete_experiment_tag(id, "b")
        client.rename_experiment(id, "springs")
        renamed = client.get_experiment_by_name("springs")
        client.delete_experiment(id)
        deleted = client.get_experiment(id)
        gone = [e.name for e in client.search_experiments() if e.experiment_id == id]
        kept = [
            e.name
            for e in client.search_experiments(view_type=ViewType.DELETED_ONLY)
            if e.experiment_id == id
        ]
        client.restore_experiment(id)
        return {
            "made": [made.name, made.lifecycle_stage, made.tags, made.artifact_location],
            "id": id,
            "taken": taken,
            "renamed": [renamed.experiment_id == id, renamed.tags],
            "old": client.get_experiment_by_name("tides"),
            "deleted": deleted.lifecycle_stage,
            "found": [gone, kept],
            "restored": client.get_experiment(id).lifecycle_stage,
            "default": client.get_experiment("0").name,
            "later": made.last_update_time <= renamed.last_update_time,
        }

    gave = client(script)
    id = gave.pop("id")
    assert gave == {
        "made": ["tides", "active", {"a": "1", "b": ""}, f"mlflow-artifacts:/{id}"],
        "taken": "RESOURCE_ALREADY_EXISTS",
        "renamed": [True, {"a": "2"}],
        "old": None,
        "deleted": "deleted",
        "found": [[], ["springs"]],
        "restored": "active",
        "default": "Default",
        "later": True,
    }


def test_a_deleted_experiment_takes_its_runs_along_and_brings_them_back(client: Client) -> None:
    def script() -> dict[str, Any]:
        import mlflow

        client = mlflow.MlflowClient()
        id = client.create_experiment("deleted with its runs")
        kept = client.create_run(id).info.run_id
        deleted = client.create_run(id).info.run_id
        client.delete_run(deleted)
        client.delete_experiment(id)
        during = [client.get_run(run).info.lifecycle_stage for run in (kept, deleted)]
        client.restore_experiment(id)
        return {
            "during": during,
            "after": [client.get_run(run).info.lifecycle_stage for run in (kept, deleted)],
        }

    # What was deleted by itself stays so: MLflow would bring it back, too.
    assert client(script) == {"during": ["deleted", "deleted"], "after": ["active", "deleted"]}


def test_runs(client: Client) -> None:
    def script() -> dict[str, Any]:
        import mlflow

        client = mlflow.MlflowClient()
        id = client.create_experiment("runs")
        run = client.create_run(id, start_time=456, tags={"mlflow.user": "ada", "x": "y"}, run_name="one")
        same = client.get_run(run.info.run_id)
        client.update_run(run.info.run_id, name="two")
        by_name = client.get_run(run.info.run_id)
        client.set_tag(run.info.run_id, "mlflow.runName", "three")
        by_tag = client.get_run(run.info.run_id)
        client.set_terminated(run.info.run_id, status="KILLED", end_time=789)
        ended = client.get_run(run.info.run_id)
        client.delete_tag(run.info.run_id, "x")
        return {
            "made": [run.info.start_time, run.info.user_id, run.info.status, run.info.run_name],
            "same": run.to_dictionary() == same.to_dictionary(),
            "uuid": len(run.info.run_id),
            "by_name": [by_name.info.run_name, by_name.data.tags["mlflow.runName"]],
            "by_tag": [by_tag.info.run_name, by_tag.data.tags["mlflow.runName"]],
            "ended": [ended.info.status, ended.info.end_time],
            "tags": sorted(client.get_run(run.info.run_id).data.tags),
        }

    assert client(script) == {
        "made": [456, "ada", "RUNNING", "one"],
        "same": True,
        "uuid": 32,
        "by_name": ["two", "two"],
        "by_tag": ["three", "three"],
        "ended": ["KILLED", 789],
        "tags": ["mlflow.runName", "mlflow.user"],
    }


def test_a_batch_is_whole_or_nothing(client: Client) -> None:
    def script() -> dict[str, Any]:
        import time

        import mlflow
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.exceptions import MlflowException

        client = mlflow.MlflowClient()
        run = client.create_run(client.create_experiment("batches")).info.run_id
        now = int(time.time() * 1000)
        client.log_batch(
            run,
            metrics=[Metric("m", i * 0.5, now + i, i) for i in range(1000)],
        )
        client.log_batch(run, params=[Param("p", "1")], tags=[RunTag("t", "1")])
        refused = {}
        for what, given in {
            "changed": {"params": [Param("p", "2")], "metrics": [Metric("n", 1.0, now, 0)]},
            "twice": {"params": [Param("q", "1"), Param("q", "2")], "metrics": [Metric("n", 1.0, now, 0)]},
            "name": {"tags": [RunTag("../up", "1")], "metrics": [Metric("n", 1.0, now, 0)]},
        }.items():
            try:
                client.log_batch(run, **given)
            except MlflowException as error:
                refused[what] = error.error_code
        client.log_batch(run, params=[Param("p", "1"), Param("q", "2")])
        found = client.get_run(run).data
        return {
            "refused": refused,
            "metrics": found.metrics,
            "params": found.params,
            "points": len(client.get_metric_history(run, "m")),
        }

    assert client(script) == {
        "refused": dict.fromkeys(("changed", "twice", "name"), "INVALID_PARAMETER_VALUE"),
        "metrics": {"m": 499.5},
        "params": {"p": "1", "q": "2"},
        "points": 1000,
    }


def test_the_latest_point_has_the_greatest_step_then_timestamp_then_value(client: Client) -> None:
    def script() -> list[Any]:
        import mlflow

        client = mlflow.MlflowClient()
        run = client.create_run(client.create_experiment("latest")).info.run_id
        seen = []
        for value, timestamp, step in ((5, 9, 1), (1, 1, 2), (2, 1, 2), (1.5, 1, 2), (9, 99, 0), (0, 2, 2)):
            client.log_metric(run, "m", value, timestamp=timestamp, step=step)
            seen.append(client.get_run(run).data.metrics["m"])
        history = client.get_metric_history(run, "m")
        return [seen, [[m.timestamp, m.step, m.value] for m in history]]

    seen, history = client(script)
    assert seen == [5, 1, 2, 2, 2, 0]
    assert history == [[1, 2, 1], [1, 2, 1.5], [1, 2, 2], [2, 2, 0], [9, 1, 5], [99, 0, 9]]


def test_history_in_pages(client: Client) -> None:
    def script() -> dict[str, Any]:
        import mlflow
        from mlflow.entities import Metric

        client = mlflow.MlflowClient()
        run = client.create_run(client.create_experiment("history in pages")).info.run_id
        for begin in range(0, 2500, 500):
            client.log_batch(
                run, metrics=[Metric("m", float(i), i // 7, i) for i in range(begin, begin + 500)]
            )
        store = client._tracking_client.store
        sizes, steps, token = [], [], None
        while True:
            page = store.get_metric_history(run, "m", max_results=700, page_token=token)
            sizes.append(len(page))
            steps += [m.step for m in page]
            token = page.token
            if not token:
                break
        whole = [m.step for m in client.get_metric_history(run, "m")]
        return {"sizes": sizes, "same": steps == whole == list(range(2500))}

    assert client(script) == {"sizes": [700, 700, 700, 400], "same": True}


def test_errors_reach_the_caller_with_their_code(client: Client) -> None:
    def script() -> dict[str, Any]:
        import mlflow
        from mlflow.exceptions import MlflowException

        client = mlflow.MlflowClient()
        run = client.create_run(client.create_experiment("errors")).info.run_id
        deleted = client.create_run("0").info.run_id
        client.delete_run(deleted)
        codes = {}
        for name, call in {
            "no run": lambda: client.get_run("0" * 32),
            "no experiment": lambda: client.get_experiment("4096"),
            "no number": lambda: client.get_experiment("tides"),
            "no tag": lambda: client.delete_tag(run, "none"),
            "deleted": lambda: client.log_metric(deleted, "m", 1),
            "name": lambda: client.log_metric(run, "a?", 1),
            "filter": lambda: client.search_runs(["0"], "metrics.m >"),
        }.items():
            try:
                call()
                codes[name] = "none"
            except MlflowException as error:
                codes[name] = error.error_code
        return codes

    missing, invalid = "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"
    assert client(script) == {
        "no run": missing,
        "no experiment": missing,
        "no number": invalid,
        "no tag": missing,
        "deleted": invalid,
        "name": invalid,
        "filter": invalid,
    }
