"""Asked about what there is not, the control API says so and names it: no call answers with an empty list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from homeostat.app.container import Container
from homeostat.app.registry.models import register
from homeostat.app.registry.versions import create
from homeostat.server.api import Api

# The first frame of a stream makes its run, so of one that is not there nothing was taken yet.
FREE = {"/runs/{id}/log"}


@pytest.fixture
def client(container: Container) -> Iterator[TestClient]:
    with ThreadPoolExecutor(1) as pool:
        yield TestClient(Api(container, pool), base_url="http://127.0.0.1")


def test_what_is_not_there_is_named(client: TestClient) -> None:
    asked = []
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        if "{" in path and "get" in operations and path not in FREE:
            url = re.sub(r"\{[^}]*\}", "nothing", path.replace("{version}", "7"))
            answer = client.get(url, params={"key": "loss"})
            assert (path, answer.status_code, answer.json()["error"]["code"]) == (path, 404, "not_found")
            assert "nothing" in answer.json()["error"]["message"], path
            asked.append(path)
    assert {"/models/{name}/versions", "/models/{name}/versions/{version}/gates"} <= set(asked)


@pytest.mark.parametrize("call", ["/datasets/nothing/seal", "/deployments/nothing/shadow/stop"])
def test_what_is_not_there_is_not_changed(client: TestClient, call: str) -> None:
    answer: dict[str, Any] = client.post(call, json={}).json()
    assert "nothing" in answer["error"]["message"]
    assert answer["error"]["code"] == "not_found"


def test_what_is_there_and_empty_is_a_list(client: TestClient, container: Container) -> None:
    register(container, "churn")
    assert client.get("/models/churn/versions").json() == []
    create(container, "churn", "s3://bucket/model")
    assert [one["version"] for one in client.get("/models/churn/versions").json()] == [1]
    assert client.get("/models/churn/versions/1/gates").json() == []
    assert client.get("/models/churn/versions/2/gates").status_code == 404
