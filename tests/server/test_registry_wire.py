"""The registry over MLflow's wire: the forms of answers and refusals, as MLflow gives them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.server.api import Api

Answer = tuple[int, dict[str, Any]]


class Wire:
    """Calls below ``2.0/mlflow``."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    def __call__(self, method: str, path: str, body: Any = None) -> Answer:
        url = f"/api/2.0/mlflow/{path}"
        given = {"params": body} if method == "GET" else {"json": body}
        answer = self._client.request(method, url, **given)
        return answer.status_code, answer.json()

    def ok(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        status, answer = self(method, path, body)
        assert status == 200, answer
        return answer


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with Container(Settings(home=tmp_path / "home")) as container, ThreadPoolExecutor(1) as pool:
        api = Api(container, pool)
        yield Wire(TestClient(api, base_url="http://127.0.0.1"))


def timeless(shown: dict[str, Any]) -> dict[str, Any]:
    """Without the times, which are milliseconds."""
    for name in ("creation_timestamp", "last_updated_timestamp"):
        assert isinstance(shown.pop(name), int)
    for version in shown.get("latest_versions", ()):
        timeless(version)
    return shown


VERSION = {
    "name": "churn",
    "version": "1",
    "current_stage": "None",
    "description": "",
    "source": "s3://bucket/model",
    "run_id": "",
    "run_link": "",
    "status": "READY",
}


def test_the_forms_of_models_and_versions(wire: Wire) -> None:
    tags = [{"key": "b", "value": "2"}, {"key": "a", "value": "1"}, {"key": "a", "value": "3"}]
    made = wire.ok("POST", "registered-models/create", {"name": "churn", "tags": tags})["registered_model"]
    model = {"name": "churn", "tags": [{"key": "a", "value": "3"}, {"key": "b", "value": "2"}]}
    assert timeless(made) == model
    body = {"name": "churn", "source": "s3://bucket/model"}
    made = wire.ok("POST", "model-versions/create", body)["model_version"]
    assert timeless(made) == VERSION
    wire.ok("POST", "registered-models/alias", {"name": "churn", "alias": "live", "version": "1"})
    wire.ok("POST", "model-versions/set-tag", {"name": "churn", "version": "1", "key": "k", "value": ""})
    wire.ok("PATCH", "registered-models/update", {"name": "churn", "description": "who leaves"})
    version = VERSION | {"aliases": ["live"], "tags": [{"key": "k", "value": ""}]}
    for path, query in (
        ("model-versions/get", {"name": "churn", "version": "1"}),
        ("registered-models/alias", {"name": "churn", "alias": "live"}),
        ("registered-models/alias", {"name": "churn", "alias": "Latest"}),
    ):
        assert timeless(wire.ok("GET", path, query)["model_version"]) == version
    got = wire.ok("GET", "registered-models/get", {"name": "churn"})["registered_model"]
    model |= {
        "description": "who leaves",
        "aliases": [{"alias": "live", "version": "1"}],
        "latest_versions": [version],
    }
    assert timeless(got) == model
    for method in ("GET", "POST"):
        found = wire.ok(
            method, "registered-models/get-latest-versions", {"name": "churn", "stages": ["none"]}
        )
        assert [timeless(one) for one in found["model_versions"]] == [version]
    uri = wire.ok("GET", "model-versions/get-download-uri", {"name": "churn", "version": "1"})
    assert uri == {"artifact_uri": "s3://bucket/model"}


def test_what_only_does_something_answers_with_nothing(wire: Wire) -> None:
    wire.ok("POST", "registered-models/create", {"name": "churn"})
    wire.ok("POST", "model-versions/create", {"name": "churn", "source": "s3://bucket/model"})
    version = {"name": "churn", "version": "1"}
    for method, path, body in (
        ("POST", "registered-models/set-tag", {"name": "churn", "key": "k"}),
        ("DELETE", "registered-models/delete-tag", {"name": "churn", "key": "k"}),
        ("POST", "model-versions/set-tag", version | {"key": "k"}),
        ("DELETE", "model-versions/delete-tag", version | {"key": "k"}),
        ("POST", "registered-models/alias", version | {"alias": "a"}),
        ("DELETE", "registered-models/alias", {"name": "churn", "alias": "a"}),
        ("DELETE", "model-versions/delete", version),
        ("GET", "model-versions/search", None),
        ("DELETE", "registered-models/delete", {"name": "churn"}),
        ("GET", "registered-models/search", None),
    ):
        assert wire.ok(method, path, body) == {}


def test_stages(wire: Wire) -> None:
    wire.ok("POST", "registered-models/create", {"name": "churn"})
    for _ in range(2):
        wire.ok("POST", "model-versions/create", {"name": "churn", "source": "s3://bucket/model"})
    move: dict[str, Any] = {"name": "churn", "version": "1", "stage": "production"}
    moved = wire.ok("POST", "model-versions/transition-stage", move)["model_version"]
    assert moved["current_stage"] == "Production"
    move |= {"version": "2", "archive_existing_versions": True}
    wire.ok("POST", "model-versions/transition-stage", move)
    found = wire.ok("GET", "registered-models/get-latest-versions", {"name": "churn"})["model_versions"]
    assert {one["version"]: one["current_stage"] for one in found} == {"1": "Archived", "2": "Production"}


def test_searching_page_by_page(wire: Wire) -> None:
    for name in ("a", "b", "c"):
        wire.ok("POST", "registered-models/create", {"name": name})
        wire.ok("POST", "model-versions/create", {"name": name, "source": f"s3://bucket/{name}"})
    for path, key, order, names in (
        ("registered-models/search", "registered_models", "name DESC", ["c", "b", "a"]),
        ("model-versions/search", "model_versions", "name ASC", ["a", "b", "c"]),
    ):
        found, query = [], {"order_by": order, "max_results": 2}
        while True:
            page = wire.ok("GET", path, query)
            found += [one["name"] for one in page[key]]
            if "next_page_token" not in page:
                break
            query["page_token"] = page["next_page_token"]
        assert found == names
    one = wire.ok("GET", "model-versions/search", {"filter": "source_path = 's3://bucket/b'"})
    assert [version["name"] for version in one["model_versions"]] == ["b"]


SEE = " See the API docs for more information about request parameters."
WRONG, GONE = (400, "INVALID_PARAMETER_VALUE"), (404, "RESOURCE_DOES_NOT_EXIST")
TAKEN = (400, "RESOURCE_ALREADY_EXISTS")
CHURN = {"name": "churn"}
ONE = CHURN | {"version": "1"}
# What is asked, and how the refusal of it begins.
REFUSALS: list[tuple[str, dict[str, Any], tuple[int, str], str]] = [
    ("POST models/create", {}, WRONG, f"Missing value for required parameter 'name'.{SEE}"),
    ("POST models/create", {"name": "a/b"}, WRONG, "Invalid model name 'a/b'. Names cannot contain"),
    ("POST models/create", {"name": "a\0b"}, WRONG, "RegisteredModel.name is a text without NUL"),
    ("POST models/create", {"name": 5}, WRONG, "Invalid value 5 for parameter 'name' supplied: "),
    ("POST models/create", CHURN, TAKEN, "Registered Model (name=churn) already exists."),
    ("POST models/rename", CHURN, WRONG, f"Missing value for required parameter 'new_name'.{SEE}"),
    (
        "POST models/set-tag",
        CHURN | {"key": "a$"},
        WRONG,
        "Invalid value \"a$\" for parameter 'key' supplied",
    ),
    (
        "POST versions/set-tag",
        ONE | {"key": "mlflow.prompt.text", "value": "a" * 100_001},
        WRONG,
        "Prompt text exceeds max length of 100000 characters.",
    ),
    ("GET models/get", {"name": "none"}, GONE, "Registered Model with name=none not found"),
    ("GET models/search", {"max_results": 1001}, WRONG, "Invalid value 1001 for parameter 'max_results'"),
    ("GET models/search", {"max_results": 0}, WRONG, "Invalid value 0 for parameter 'max_results'"),
    ("GET models/search", {"page_token": "junk"}, WRONG, "Invalid page token"),
    ("GET models/search", {"filter": "colour = 'red'"}, WRONG, "Invalid attribute key 'colour' specified."),
    ("POST models/alias", ONE | {"alias": "latest"}, WRONG, "'latest' alias name (case insensitive) is res"),
    ("POST models/alias", ONE | {"alias": "V1"}, WRONG, "Version alias name 'V1' is reserved."),
    ("GET models/alias", CHURN | {"alias": "live"}, WRONG, "Registered model alias live not found."),
    (
        "GET models/alias",
        {"name": "empty", "alias": "latest"},
        GONE,
        "Latest version not found for model empty.",
    ),
    ("GET versions/search", {"max_results": 200_001}, WRONG, "Invalid value 200001 for parameter 'max_resu"),
    ("GET versions/get", CHURN | {"version": "a"}, WRONG, "Parameter 'version' must be an integer, got 'a'."),
    (
        "GET versions/get",
        CHURN | {"version": "9" * 30},
        WRONG,
        "ModelVersion.version is an integer of at most",
    ),
    ("GET versions/get", CHURN | {"version": "2"}, GONE, "Model Version (name=churn, version=2) not found"),
    (
        "POST versions/create",
        CHURN | {"source": "/etc"},
        WRONG,
        "Invalid model version source: '/etc'. To use a",
    ),
    (
        "POST versions/create",
        CHURN | {"source": "runs:/a/m"},
        WRONG,
        "Invalid model version source: 'runs:/a/m'",
    ),
    (
        "POST versions/transition-stage",
        ONE | {"stage": "live"},
        WRONG,
        "Invalid Model Version stage: live. Va",
    ),
]


@pytest.mark.parametrize(("call", "body", "answer", "message"), REFUSALS)
def test_refusals(wire: Wire, call: str, body: dict[str, Any], answer: tuple[int, str], message: str) -> None:
    for name in ("churn", "empty"):
        wire.ok("POST", "registered-models/create", {"name": name})
    wire.ok("POST", "model-versions/create", CHURN | {"source": "s3://bucket/model"})
    method, _, path = call.partition(" ")
    path = path.replace("models/", "registered-models/").replace("versions/", "model-versions/")
    status, error = wire(method, path, body)
    assert (status, error["error_code"]) == answer
    assert error["message"].startswith(message)


def test_names_of_any_text(wire: Wire) -> None:
    for name in ("a b", "é", "😀", "a@1", "100%", "a\nb", "x" * 256, "a#b?c&d"):
        wire.ok("POST", "registered-models/create", {"name": name})
        body = {"name": name, "source": "s3://bucket/model"}
        assert wire.ok("POST", "model-versions/create", body)["model_version"]["version"] == "1"
        got = wire.ok("GET", "registered-models/get", {"name": name})["registered_model"]
        assert (got["name"], got["latest_versions"][0]["name"]) == (name, name)
    assert len(wire.ok("GET", "model-versions/search")["model_versions"]) == 8
