"""Two who write to the same thing at once: nothing is lost, and of what cannot both be, one is told so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.server.mlflow.app import ENDPOINTS
from homeostat.server.mlflow.wire import Wire
from tests.conftest import Databases

ROUNDS = 20


@pytest.fixture(params=["sqlite", "postgresql"])
def wire(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    if request.param == "postgresql":
        databases: Databases = request.getfixturevalue("databases")
        databases.empty()
        settings = Settings(home=settings.home, store=databases.shared)
    with Container(settings) as container:
        yield Wire(container, ENDPOINTS)


def post(wire: Wire, path: str, message: Any) -> tuple[int, Any]:
    status, answer = wire.call("POST", f"2.0/mlflow/{path}", "", json.dumps(message).encode())
    return status, json.loads(answer)


def both(work: Callable[[int], list[tuple[int, Any]]]) -> list[tuple[int, Any]]:
    """What two threads get that do the same work, each with its number."""
    with ThreadPoolExecutor(2) as pool:
        return [answer for answers in pool.map(work, range(2)) for answer in answers]


def run_of(wire: Wire) -> str:
    status, answer = post(wire, "runs/create", {"experiment_id": "0"})
    assert status == 200
    return str(answer["run"]["info"]["run_id"])


def test_two_writers_on_one_run(wire: Wire) -> None:
    run = run_of(wire)

    def log(writer: int) -> list[tuple[int, Any]]:
        answers = []
        for number in range(ROUNDS):
            step = 2 * number + writer
            point = {"key": "m", "value": step, "timestamp": 1, "step": step}
            own = {"key": f"own {step}", "value": "1"}
            batch = {
                "run_id": run,
                "metrics": [point],
                "params": [own],
                "tags": [{"key": "t", "value": str(step)}],
            }
            answers.append(post(wire, "runs/log-batch", batch))
        return answers

    assert Counter(status for status, _ in both(log)) == {200: 2 * ROUNDS}
    _, body = wire.call("GET", "2.0/mlflow/runs/get", f"run_id={run}", b"")
    data = json.loads(body)["run"]["data"]
    assert {param["key"] for param in data["params"]} == {f"own {step}" for step in range(2 * ROUNDS)}
    (latest,) = data["metrics"]
    assert latest["value"] == 2 * ROUNDS - 1
    _, body = wire.call("GET", "2.0/mlflow/metrics/get-history", f"run_id={run}&metric_key=m", b"")
    assert [point["step"] for point in json.loads(body)["metrics"]] == [*range(2 * ROUNDS)]


def test_a_parameter_is_written_once(wire: Wire) -> None:
    run = run_of(wire)

    def log(writer: int) -> list[tuple[int, Any]]:
        return [
            post(wire, "runs/log-parameter", {"run_id": run, "key": f"p{number}", "value": str(writer)})
            for number in range(ROUNDS)
        ]

    answers = both(log)
    assert Counter(status for status, _ in answers) == {200: ROUNDS, 400: ROUNDS}
    assert {answer["error_code"] for status, answer in answers if status == 400} == {
        "INVALID_PARAMETER_VALUE"
    }


def test_what_is_made_at_once_is_made_once(wire: Wire) -> None:
    def make(_: int) -> list[tuple[int, Any]]:
        made = [post(wire, "experiments/create", {"name": f"e{number}"}) for number in range(ROUNDS)]
        return [
            *made,
            *(post(wire, "registered-models/create", {"name": f"m{number}"}) for number in range(ROUNDS)),
        ]

    answers = both(make)
    assert Counter(status for status, _ in answers) == {200: 2 * ROUNDS, 400: 2 * ROUNDS}
    assert {answer["error_code"] for status, answer in answers if status == 400} == {
        "RESOURCE_ALREADY_EXISTS"
    }

    def version(_: int) -> list[tuple[int, Any]]:
        return [
            post(wire, "model-versions/create", {"name": "m0", "source": "s3://bucket/m"})
            for _ in range(ROUNDS)
        ]

    numbers = [int(answer["model_version"]["version"]) for status, answer in both(version) if status == 200]
    assert sorted(numbers) == [*range(1, 2 * ROUNDS + 1)]
