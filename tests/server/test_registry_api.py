"""The registry over the control API, asked by Homeostat's own client."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from homeostat.app.container import Container
from homeostat.app.registry import aliases, models, versions
from homeostat.app.settings import Settings
from homeostat.server.api import Api


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home")) as container:
        models.register(container, "a model", tags={"team": "risk"})
        for number in range(3):
            versions.create(container, "a model", f"s3://bucket/{number}")
        aliases.set_alias(container, "a model", "champion", 2)
        yield container


@pytest.fixture
def client(container: Container) -> Iterator[TestClient]:
    with ThreadPoolExecutor(1) as pool:
        yield TestClient(Api(container, pool), base_url="http://127.0.0.1")


def test_models(client: TestClient) -> None:
    page = client.get("/models", params={"filter": "tags.team = 'risk'", "limit": 5}).json()
    (found,) = page["models"]
    assert (found["record"]["name"], found["aliases"], page["token"]) == ("a model", {"champion": 2}, "")
    assert client.get("/models?filter=name%20%3D%20'x'").json() == {"models": [], "token": ""}


def test_a_model_and_its_versions(client: TestClient) -> None:
    found = client.get("/models/a%20model?limit=2").json()
    assert found["model"]["tags"] == {"team": "risk"}
    assert [one["record"]["version"] for one in found["versions"]] == [3, 2]
    for at in ("2", "champion"):
        one = client.get(f"/models/a%20model/versions/{at}").json()
        assert (one["record"]["version"], one["aliases"]) == (2, ["champion"])
    assert len(client.get("/models/a%20model/versions").json()) == 3


def test_what_was_live(client: TestClient) -> None:
    now = client.get("/models/a%20model/live").json()
    assert (now["version"], now["reason"]) == (2, "set by hand")
    before = client.get("/models/a%20model/live", params={"at": "2013-01-01"}).json()
    assert (before["version"], before["at"]) == (None, "2013-01-01T00:00:00Z")


def test_what_differs(client: TestClient) -> None:
    refs = {"old": "model/a model@1", "new": "model/a model@champion"}
    found = client.get("/compare", params=refs).json()
    assert (found["old"], found["new"]) == ("model/a model@1", "model/a model@2")
    assert found["differences"] == []


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/models/none", 404, ""),
        ("/models/none/versions/1", 404, ""),
        ("/models/a%20model/versions/9", 404, ""),
        ("/models/a%20model/versions/nobody", 404, ""),
        ("/models/none/live", 404, ""),
        ("/models/a%20model/live?at=then", 400, "at"),
        ("/models?filter=what", 400, "filter"),
        ("/models?limit=0", 400, "limit"),
        ("/models?limit=1001", 400, "limit"),
        ("/compare?old=model/a&new=", 404, ""),
        ("/compare?old=&new=", 400, ""),
    ],
)
def test_refusals(client: TestClient, path: str, status: int, field: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.json()["error"].get("field", "") == field


def test_models_and_versions_are_marked(client: TestClient) -> None:
    path = "/models/a%20model"
    shown = client.post(f"{path}/alias", json={"alias": "next", "version": 3}).json()
    assert shown["aliases"] == {"champion": 2, "next": 3}
    assert client.post(f"{path}/alias", json={"alias": "next", "version": None}).json()["aliases"] == {
        "champion": 2
    }
    said = {"tags": {"team": None, "owner": "ann"}, "description": "what it is"}
    shown = client.post(f"{path}/mark", json=said).json()
    assert (shown["tags"], shown["record"]["description"]) == ({"owner": "ann"}, "what it is")
    client.post(f"{path}/mark", json={"version": "champion", "tags": {"a": "1"}, "description": "better"})
    version = client.get(f"{path}/versions/2").json()
    assert (version["tags"], version["record"]["description"]) == ({"a": "1"}, "better")
    client.post(f"{path}/mark", json={"version": "2", "tags": {"a": None}})
    assert client.get(f"{path}/versions/2").json()["tags"] == {}
    for call, body, status in (
        ("alias", {"alias": "latest", "version": 1}, 400),
        ("alias", {"alias": "x", "version": 9}, 404),
        ("alias", {"alias": "x"}, 400),
        ("mark", {"version": "nobody"}, 404),
        ("mark", {"tags": {"": "x"}}, 400),
        ("mark", {"tags": 3}, 400),
    ):
        assert client.post(f"{path}/{call}", json=body).status_code == status
