"""The forms of MLflow's protocol: numbers, names, tokens and errors as its clients expect them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.server.api import Api
from tests.conftest import Databases


class Wire:
    """Calls of the protocol, as plain HTTP."""

    def __init__(self, http: TestClient) -> None:
        self.http = http

    def post(self, path: str, message: Any = None, *, content: bytes | None = None) -> httpx.Response:
        body = json.dumps(message).encode() if content is None else content
        return self.http.post(
            f"/api/2.0/mlflow/{path}", content=body, headers={"content-type": "application/json"}
        )

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.http.get(f"/api/2.0/mlflow/{path}", params=query)

    def done(self, path: str, message: Any) -> Any:
        answer = self.post(path, message)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def run(self, **fields: Any) -> str:
        made = self.done("runs/create", {"experiment_id": "0", "start_time": 1} | fields)
        return str(made["run"]["info"]["run_id"])


@pytest.fixture(params=["sqlite", "postgresql"])
def wire(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    if request.param == "postgresql":
        databases: Databases = request.getfixturevalue("databases")
        databases.empty()
        settings = Settings(home=settings.home, store=databases.shared)
    with Container(settings) as container, ThreadPoolExecutor(2) as pool:
        yield Wire(TestClient(Api(container, pool), base_url="http://127.0.0.1"))


def test_a_run_has_both_names_and_whole_numbers(wire: Wire) -> None:
    run = wire.run(start_time=2**40, user_id="ada", tags=[{"key": "x", "value": ""}])
    wire.done(
        "runs/log-metric", {"run_id": run, "key": "m", "value": 3, "timestamp": "12", "step": 2**53 + 1}
    )
    found = wire.get("runs/get", run_uuid=run).json()["run"]
    assert found["info"]["run_id"] == found["info"]["run_uuid"] == run
    assert found["info"]["start_time"] == 2**40
    assert "end_time" not in found["info"]
    assert (found["info"]["status"], found["info"]["lifecycle_stage"]) == ("RUNNING", "active")
    assert found["info"]["user_id"] == "ada"
    assert found["data"]["metrics"] == [{"key": "m", "value": 3.0, "timestamp": 12, "step": 2**53 + 1}]
    assert {"key": "x", "value": ""} in found["data"]["tags"]
    assert found["info"]["artifact_uri"] == f"mlflow-artifacts:/0/{run}/artifacts"
    assert "params" not in found["data"]


def test_a_long_body_of_a_brief_call_is_answered_as_a_short_one(wire: Wire) -> None:
    run = wire.run()
    long = "x" * 200_000
    for number, rest in enumerate(({}, {"of a newer client": long})):
        point = {"run_id": run, "key": "m", "value": number, "timestamp": number, "step": number}
        wire.done("runs/log-metric", point | rest)
    for key, value in (("short", "x" * 8000), ("long", long)):
        wire.done("runs/set-tag", {"run_id": run, "key": key, "value": value})
    data = wire.get("runs/get", run_id=run).json()["run"]["data"]
    tags = {tag["key"]: tag["value"] for tag in data["tags"]}
    assert tags["long"] == tags["short"] == "x" * 8000
    assert data["metrics"] == [{"key": "m", "value": 1.0, "timestamp": 1, "step": 1}]


def test_what_is_no_number_is_a_text(wire: Wire) -> None:
    run = wire.run()
    for number, value in enumerate(("NaN", "Infinity", "-Infinity", 1e308, 0.1)):
        wire.done(
            "runs/log-metric", {"run_id": run, "key": f"m{number}", "value": value, "timestamp": 1, "step": 0}
        )
    found = wire.get("runs/get", run_id=run).json()["run"]["data"]["metrics"]
    assert sorted(str(metric["value"]) for metric in found) == sorted(
        ["NaN", "Infinity", "-Infinity", "1e+308", "0.1"]
    )
    assert wire.get("metrics/get-history", run_id=run, metric_key="m0").json()["metrics"][0]["value"] == "NaN"
    bulk = wire.http.get(
        "/ajax-api/2.0/mlflow/metrics/get-history-bulk", params={"run_id": [run], "metric_key": "m1"}
    )
    assert bulk.json()["metrics"][0] == {
        "key": "m1",
        "value": "Infinity",
        "timestamp": 1,
        "step": 0,
        "run_id": run,
    }


def test_history_is_whole_without_a_limit_and_paged_with_one(wire: Wire) -> None:
    run = wire.run()
    points = [{"key": "m", "value": float(-i), "timestamp": i // 10, "step": i} for i in range(6000)]
    for begin in range(0, 6000, 1000):
        wire.done("runs/log-batch", {"run_id": run, "metrics": points[begin : begin + 1000]})
    whole = wire.get("metrics/get-history", run_id=run, metric_key="m").json()
    assert whole == {"metrics": points}
    paged: list[Any] = []
    token = ""
    while token or not paged:
        page = wire.get(
            "metrics/get-history", run_id=run, metric_key="m", max_results=1800, page_token=token
        ).json()
        paged += page["metrics"]
        token = page.get("next_page_token", "")
    assert paged == points
    assert wire.get("metrics/get-history", run_id=run, metric_key="none").json() == {}


def test_a_page_goes_on_where_the_last_one_ended_though_points_come_in_between(wire: Wire) -> None:
    run = wire.run()
    for value in ("Infinity", 1.0, 2.0):
        wire.done("runs/log-metric", {"run_id": run, "key": "m", "value": value, "timestamp": 5})
    first = wire.get("metrics/get-history", run_id=run, metric_key="m", max_results=2).json()
    wire.done("runs/log-metric", {"run_id": run, "key": "m", "value": 0.5, "timestamp": 1})
    token = first["next_page_token"]
    second = wire.get(
        "metrics/get-history", run_id=run, metric_key="m", max_results=2, page_token=token
    ).json()
    assert [point["value"] for point in first["metrics"] + second["metrics"]] == [1.0, 2.0, "Infinity"]
    assert "next_page_token" not in second


def test_a_sample_is_spread_over_the_history_with_both_ends(wire: Wire) -> None:
    run = wire.run()
    points = [{"key": "m", "value": float(i), "timestamp": 1, "step": i} for i in range(100)]
    wire.done("runs/log-batch", {"run_id": run, "metrics": points})

    def steps(**more: Any) -> list[int]:
        answer = wire.get("metrics/get-history-bulk-interval", run_ids=[run], metric_key="m", **more).json()
        return [point["step"] for point in answer["metrics"]]

    assert steps() == list(range(100))
    assert steps(max_results=5) == [0, 20, 40, 60, 99]
    assert steps(max_results=1) == [99]
    assert steps(max_results=3, start_step=10, end_step=18) == [10, 13, 18]


RUN = {"run_id": "RUN"}
POINT = {"key": "m", "value": 1, "timestamp": 1}


@pytest.mark.parametrize(
    ("path", "message", "code", "begins"),
    [
        ("experiments/create", {}, 400, "Missing value for required parameter 'name'."),
        ("experiments/create", {"name": ""}, 400, "Missing value for required parameter 'name'."),
        ("experiments/create", {"name": 123}, 400, "Invalid value 123 for parameter 'name' supplied"),
        ("experiments/create", {"name": "e", "tags": "5"}, 400, "Invalid value \"5\" for parameter 'tags'"),
        ("experiments/create", {"name": "e" * 501}, 400, "'name' exceeds the maximum length of 500"),
        (
            "experiments/create",
            {"name": "e", "artifact_location": "runs:/a"},
            400,
            "Artifact location cannot",
        ),
        (
            "experiments/create",
            {"name": "e", "artifact_location": "s3://b#c"},
            400,
            "'artifact_location' URL",
        ),
        ("experiments/create", {"name": "Default"}, 400, "Experiment(name=Default) already exists"),
        (
            "experiments/update",
            {"experiment_id": "0"},
            400,
            "Missing value for required parameter 'new_name'",
        ),
        ("experiments/delete", {"experiment_id": "9999"}, 404, "No Experiment with id=9999 exists"),
        ("experiments/delete", {"experiment_id": "x"}, 400, "Invalid experiment ID 'x'."),
        ("experiments/delete", {"experiment_id": "9" * 30}, 404, "No Experiment with id="),
        ("experiments/search", {"max_results": 0}, 400, "Invalid value 0 for parameter 'max_results'"),
        (
            "experiments/search",
            {"max_results": 50001},
            400,
            "Invalid value 50001 for parameter 'max_results'",
        ),
        ("experiments/search-datasets", {}, 400, "SearchDatasets request must specify at least one"),
        ("runs/create", {"experiment_id": "0", "start_time": "x"}, 400, 'Invalid value "x" for parameter'),
        (
            "runs/create",
            {"experiment_id": "0", "start_time": 10**17},
            400,
            "Invalid value 100000000000000000",
        ),
        ("runs/update", {}, 400, "Missing value for required parameter 'run_id'."),
        ("runs/update", RUN | {"status": "GONE"}, 400, "Invalid value \"GONE\" for parameter 'status'"),
        ("runs/delete", {"run_id": "none"}, 404, "Run with id=none not found"),
        ("runs/log-metric", {"run_id": None} | POINT, 400, "Missing value for required parameter 'run_id'."),
        ("runs/log-metric", RUN | POINT | {"key": 31}, 400, "Invalid value 31 for parameter 'key' supplied"),
        (
            "runs/log-metric",
            RUN | {"key": "m", "value": 1},
            400,
            "Missing value for required parameter 'timest",
        ),
        ("runs/log-metric", RUN | POINT | {"value": "x"}, 400, "Invalid value \"x\" for parameter 'value'"),
        ("runs/log-metric", RUN | POINT | {"step": 2**63}, 400, "Invalid value 9223372036854775808 for"),
        (
            "runs/log-metric",
            RUN | POINT | {"timestamp": -1},
            400,
            "Invalid value -1 for parameter 'timestamp'",
        ),
        (
            "runs/log-metric",
            RUN | POINT | {"key": "../m"},
            400,
            "Invalid value \"../m\" for parameter 'name'",
        ),
        (
            "runs/log-parameter",
            RUN | {"key": "p", "value": 41},
            400,
            "Invalid value 41 for parameter 'value'",
        ),
        ("runs/log-parameter", RUN | {"key": "a?"}, 400, "Invalid value \"a?\" for parameter 'key' supplied"),
        (
            "runs/log-parameter",
            RUN | {"key": "there", "value": "2"},
            400,
            "Changing param values is not allowed.",
        ),
        ("runs/set-tag", RUN | {"value": "v"}, 400, "Missing value for required parameter 'key'."),
        ("runs/delete-tag", RUN | {"key": "t"}, 404, "No tag with name: t in run with id"),
        (
            "runs/log-batch",
            RUN | {"metrics": "x"},
            400,
            "Invalid value \"x\" for parameter 'metrics' supplied",
        ),
        ("runs/log-batch", RUN | {"metrics": [{"key": "m", "value": 1}]}, 400, "Missing value for required "),
        (
            "runs/log-batch",
            RUN | {"metrics": [POINT] * 1001},
            400,
            "A batch logging request can contain at most 1",
        ),
        ("runs/log-batch", RUN | {"params": [{"key": f"p{i}"} for i in range(101)]}, 400, "A batch logging "),
        ("runs/log-batch", RUN | {"params": [{"key": "p"}, {"key": "p"}]}, 400, "Duplicate parameter keys"),
        (
            "runs/log-batch",
            RUN | {"tags": [{"key": "a//b"}]},
            400,
            'Invalid value "a//b" for parameter \'tags[',
        ),
        (
            "runs/log-inputs",
            RUN | {"datasets": [{"dataset": {"name": "d"}}]},
            400,
            "Dataset digest cannot be",
        ),
        ("runs/log-inputs", {"datasets": ["{}"]}, 400, "Missing value for required parameter 'run_id'."),
        ("runs/log-model", RUN | {"model_json": "{"}, 400, "Malformed model info."),
        ("runs/log-model", RUN | {"model_json": "{}"}, 400, "Model json is missing mandatory fields"),
        ("runs/outputs", RUN | {"models": []}, 400, "Missing value for required parameter 'models'."),
        ("runs/search", {"experiment_ids": ["0"], "run_view_type": "ANY"}, 400, 'Invalid value "ANY" for'),
        ("runs/search", {"experiment_ids": ["0"], "max_results": 50001}, 400, "Invalid value 50001 for"),
        ("runs/search", {"experiment_ids": ["x"]}, 400, "Invalid experiment ID 'x'."),
        ("runs/search", {"experiment_ids": ["0"], "page_token": "x"}, 400, "Invalid page token"),
        ("no/such/call", {}, 404, "there is no POST /api/2.0/mlflow/no/such/call"),
    ],
)
def test_errors_say_what_is_wrong(
    wire: Wire, path: str, message: dict[str, Any], code: int, begins: str
) -> None:
    run = wire.run()
    wire.done("runs/log-parameter", {"run_id": run, "key": "there", "value": "1"})
    answer = wire.post(path, message | ({"run_id": run} if message.get("run_id") == "RUN" else {}))
    told = answer.json()
    assert (answer.status_code, told["message"][: len(begins)]) == (code, begins)
    names = {400: ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS"), 404: ("RESOURCE_DOES_NOT_EXIST",)}
    assert told["error_code"] in (*names[code], "ENDPOINT_NOT_FOUND")
    assert (told["error_code"] == "RESOURCE_ALREADY_EXISTS") == ("already exists" in told["message"])


def test_a_deleted_run_takes_nothing(wire: Wire) -> None:
    run = wire.run()
    wire.done("runs/delete", {"run_id": run})
    for path, message in (
        ("runs/log-metric", POINT),
        ("runs/log-parameter", {"key": "p", "value": "1"}),
        ("runs/set-tag", {"key": "t", "value": "1"}),
        ("runs/log-batch", {"metrics": []}),
        ("runs/update", {"status": "FAILED"}),
        ("runs/outputs", {"models": [{"model_id": "m"}]}),
    ):
        answer = wire.post(path, {"run_id": run} | message)
        assert answer.status_code == 400
        assert answer.json()["message"].startswith(f"The run {run} must be in the 'active' state.")
    wire.done("runs/restore", {"run_id": run})
    wire.done("runs/log-metric", {"run_id": run} | POINT)


def test_long_texts_are_cut_as_mlflow_cuts_them(wire: Wire) -> None:
    run = wire.run(tags=[{"key": "made", "value": "v" * 9000}])
    wire.done("runs/log-parameter", {"run_id": run, "key": "p", "value": "v" * 9000})
    wire.done("runs/log-batch", {"run_id": run, "tags": [{"key": "t", "value": "v" * 9000}]})
    data = wire.get("runs/get", run_id=run).json()["run"]["data"]
    assert {p["key"]: len(p["value"]) for p in data["params"]} == {"p": 6000}
    lengths = {tag["key"]: len(tag["value"]) for tag in data["tags"]}
    assert (lengths["made"], lengths["t"]) == (8000, 8000)


def test_a_run_keeps_its_name_when_it_gets_an_empty_one(wire: Wire) -> None:
    run = wire.run(run_name="tides")
    wire.done("runs/set-tag", {"run_id": run, "key": "mlflow.runName", "value": ""})
    wire.done("runs/update", {"run_id": run, "run_name": ""})
    assert wire.get("runs/get", run_id=run).json()["run"]["info"]["run_name"] == "tides"


def test_models_that_a_run_noted_are_a_list_in_a_tag(wire: Wire) -> None:
    run = wire.run()
    for path in ("one", "two"):
        model = {
            "run_id": run,
            "artifact_path": path,
            "utc_time_created": "2026",
            "flavors": {"python_function": {"loader_module": "x", "config": "left out"}},
            "model_uuid": path,
            "signature": None,
        }
        wire.done("runs/log-model", {"run_id": run, "model_json": json.dumps(model)})
    tags = wire.get("runs/get", run_id=run).json()["run"]["data"]["tags"]
    noted = json.loads(next(tag["value"] for tag in tags if tag["key"] == "mlflow.log-model.history"))
    assert [model["artifact_path"] for model in noted] == ["one", "two"]
    assert noted[0]["flavors"] == {"python_function": {"loader_module": "x"}}
    assert "signature" not in noted[0]


def test_only_json_is_taken(wire: Wire) -> None:
    for headers in (
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
    ):
        answer = wire.http.post("/api/2.0/mlflow/runs/create", content=b"{}", headers=headers)
        assert answer.status_code == 400
        assert "Content-Type" in answer.json()["message"]
    message = json.dumps({"experiment_id": "0", "start_time": 1}).encode()
    twice = json.dumps(message.decode()).encode()  # as old clients do
    for body in (message, twice):
        assert wire.post("runs/create", content=body).status_code == 200


def test_a_body_that_is_too_large_or_holds_too_much(wire: Wire) -> None:
    run = wire.run()
    params = ",".join(f'{{"key":"p{number}","value":"1"}}' for number in range(1_000_000))
    answer = wire.post("runs/log-batch", content=f'{{"run_id":"{run}","params":[{params}]}}'.encode())
    assert answer.status_code == 400
    assert "at most 100 params" in answer.json()["message"]
    answer = wire.post("runs/log-batch", content=b" " * (65 << 20))
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "BAD_REQUEST"


def test_what_clients_ask_before_they_begin(wire: Wire) -> None:
    version = wire.http.get("/version")
    assert version.text.startswith("3.")
    assert version.headers["content-type"].startswith("text/plain")
    for prefix in ("api", "ajax-api"):
        info = wire.http.get(f"/{prefix}/3.0/mlflow/server-info").json()
        assert info["store_type"] == "SqlStore"
        assert info["workspaces_enabled"] is False
    assert wire.http.get("/health").status_code == 200
