"""The filter language, orders and pages, through the client."""

from __future__ import annotations

from typing import Any

import pytest

from tests.mlflow.official import Client

FOUND = [
    ("", "dcba"),
    ("metrics.loss < 0.3", "ba"),
    ("metrics.loss <= 0.3 and params.depth = '2'", "b"),
    ("metric.loss > 0.3", "d"),
    ("params.depth != '2'", "ca"),
    ("param.depth IN ('1', '3')", "ca"),
    ("parameters.depth LIKE '%1%'", "a"),
    ("tags.team = 'Tides'", "ba"),
    ("tag.team ILIKE 'tides'", "cba"),
    ("tags.team LIKE 'tide%'", "c"),
    ("tags.`odd key` = 'x'", "d"),
    ('tags."odd key" = "x"', "d"),
    ("params.only IS NOT NULL", "d"),
    ("params.only IS NULL", "cba"),
    ("attributes.status = 'FINISHED'", "b"),
    ("status != 'RUNNING'", "b"),
    ("attr.run_name LIKE 'run %'", "dcba"),
    ("run_name = 'run c'", "c"),
    ("start_time >= 300", "dc"),
    ("attribute.start_time < 200", "a"),
    ("datasets.name = 'harbour'", "c"),
    ("dataset.context = 'training' AND params.depth IS NOT NULL", "c"),
    ("metrics.nothing > 0", ""),
]
ORDERED = [
    (["start_time"], "abcd"),
    (["attributes.start_time DESC"], "dcba"),
    (["metrics.loss"], "abdc"),  # c's is NaN, which comes last
    (["metrics.loss DESC"], "dbac"),  # in both directions
    (["params.depth DESC"], "cbad"),
    (["params.only", "metrics.loss ASC"], "dabc"),
    (["tags.team", "start_time DESC"], "bacd"),
    (["run_name DESC"], "dcba"),
    (["status"], "bdca"),  # b is FINISHED
    (["attributes.status DESC"], "dcab"),
]


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """The experiment of each server."""
    return {}


def _make() -> str:
    import mlflow
    from mlflow.entities import Dataset, DatasetInput, InputTag

    client = mlflow.MlflowClient()
    id = client.create_experiment("searching")
    runs = {}
    for number, name in enumerate("abcd"):
        runs[name] = client.create_run(id, start_time=(number + 1) * 100, run_name=f"run {name}").info.run_id
    for name, loss in {"a": 0.1, "b": 0.2, "c": float("nan"), "d": 0.4}.items():
        client.log_metric(runs[name], "loss", 9.0, step=0)
        client.log_metric(runs[name], "loss", loss, step=1)
    for name, depth in {"a": 1, "b": 2, "c": 3}.items():
        client.log_param(runs[name], "depth", depth)
    for name, team in {"a": "Tides", "b": "Tides", "c": "tides"}.items():
        client.set_tag(runs[name], "team", team)
    client.log_param(runs["d"], "only", "here")
    client.set_tag(runs["d"], "odd key", "x")
    client.set_terminated(runs["b"])
    read = Dataset("harbour", "1", "local", "{}")
    client.log_inputs(runs["c"], [DatasetInput(read, [InputTag("mlflow.data.context", "training")])])
    return id


def _search(id: str, filter: str, order: list[str]) -> str:
    import mlflow

    found = mlflow.MlflowClient().search_runs([id], filter, order_by=order)
    return "".join(run.info.run_name[-1] for run in found)


@pytest.fixture
def searched(client: Client, made: dict[str, str]) -> tuple[Client, str]:
    """A client, and the experiment with runs a to d."""
    if client.uri not in made:
        made[client.uri] = client(_make)
    return client, made[client.uri]


@pytest.mark.parametrize(("filter", "runs"), FOUND)
def test_filters(searched: tuple[Client, str], filter: str, runs: str) -> None:
    client, experiment = searched
    assert client(_search, experiment, filter, []) == runs


@pytest.mark.parametrize(("order", "runs"), ORDERED)
def test_orders(searched: tuple[Client, str], order: list[str], runs: str) -> None:
    client, experiment = searched
    assert client(_search, experiment, "", order) == runs


def test_pages_follow_each_other(searched: tuple[Client, str]) -> None:
    def script(id: str) -> list[list[str]]:
        import mlflow

        client = mlflow.MlflowClient()
        pages, token = [], None
        while True:
            page = client.search_runs([id], order_by=["metrics.loss DESC"], max_results=3, page_token=token)
            pages.append([run.info.run_name[-1] for run in page])
            token = page.token
            if not token:
                return pages

    client, experiment = searched
    assert client(script, experiment) == [["d", "b", "a"], ["c"]]


def test_a_table_of_runs(searched: tuple[Client, str]) -> None:
    def script(id: str) -> dict[str, Any]:
        import mlflow

        found = mlflow.search_runs([id], order_by=["start_time"])
        return {
            "columns": sorted(
                name for name in found.columns if name.startswith(("metrics", "params", "tags.t"))
            ),
            "losses": found["metrics.loss"].dropna().tolist(),
            "depths": found["params.depth"].tolist()[:3],
        }

    client, experiment = searched
    assert client(script, experiment) == {
        "columns": ["metrics.loss", "params.depth", "params.only", "tags.team"],
        "losses": [0.1, 0.2, 0.4],
        "depths": ["1", "2", "3"],
    }


def test_experiments(client: Client) -> None:
    def script() -> list[Any]:
        import mlflow

        client = mlflow.MlflowClient()
        for name, tags in (("port a", {"key": "value"}), ("port ab", {"key": "vaLue"}), ("Port c", {})):
            client.create_experiment(name, tags=tags)

        def names(filter: str, **more: Any) -> list[str]:
            found = client.search_experiments(filter_string=f"name ILIKE 'port%' AND {filter}", **more)
            return [e.name for e in found]

        return [
            names("name = 'port a'"),
            names("name LIKE 'port%'", order_by=["name"]),
            names("tags.key ILIKE 'value'", order_by=["name DESC"]),
            names("tag.key = 'value'"),
            names("creation_time > 0", order_by=["name ASC"], max_results=2),
        ]

    assert client(script) == [
        ["port a"],
        ["port a", "port ab"],
        ["port ab", "port a"],
        ["port a"],
        ["Port c", "port a"],
    ]
