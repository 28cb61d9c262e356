"""The ledger as OpenLineage: what a receiver hears of trainings, datasets and deployments, once it is back too."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from homeostat.app.container import Container
from homeostat.app.datasets import seal
from homeostat.app.openlineage import run_id, tell_lineage
from homeostat.app.settings import Settings
from homeostat.app.training import fail, submit
from homeostat.domain.errors import HomeostatError, StoreUnavailable
from homeostat.domain.records import Cursor, Run
from tests.app.churning import declare, trained
from tests.app.receiving import Receiver, receiving


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that was trained and serves, and a training that failed."""
    folder = tmp_path_factory.mktemp("told")
    with Container(Settings(home=folder / "home")) as container:
        declare(container, folder / "project")
        seal(container, "customers")
        trained(container)
        fail(container, submit(container, "churn", reason="again").id, "its process died")
    return folder / "home"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        found.status = 201
        yield found


def from_the_beginning(container: Container) -> None:
    """Nothing was told yet."""
    with container.store.begin() as tx:
        tx.delete(Cursor, ("name", "=", "openlineage"))


def told(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


def test_a_file_of_events_tells_what_came_from_what(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "lineage" / "events.jsonl"
    with Container(Settings(home=home, lineage=str(path))) as container:
        from_the_beginning(container)
        sent = tell_lineage(container)
        assert tell_lineage(container) == 0
        tables = container.settings.tables
        runs = {event["run"]["runId"]: event for event in told(path) if "run" in event}
        known = {run_id(run.id) for run in container.store.find(Run)}
    events = told(path)
    assert len(events) == sent
    states = [event["eventType"] for event in events if "run" in event]
    assert states == ["START", "COMPLETE", "FAIL"]
    assert set(runs) <= known
    complete = next(event for event in events if event.get("eventType") == "COMPLETE")
    (source,) = complete["inputs"]
    assert (source["namespace"], source["name"]) == ("file", f"{tables}/customers")
    assert source["facets"]["version"]["datasetVersion"] == "1"
    assert {field["name"] for field in source["facets"]["schema"]["fields"]} == {
        "id",
        "plan",
        "usage",
        "churned",
    }
    (model,) = complete["outputs"]
    assert (model["name"], model["facets"]["datasetType"]["datasetType"]) == ("model/churn", "MODEL")
    failed = next(event for event in events if event.get("eventType") == "FAIL")
    assert failed["run"]["facets"]["errorMessage"]["message"] == "its process died"
    serving = next(event for event in events if event.get("job", {}).get("name") == "serve/churn")
    assert serving["inputs"][0]["name"] == model["name"]
    assert serving["inputs"][0]["facets"]["version"]["datasetVersion"] == "1"
    (sealed,) = [event for event in events if "dataset" in event]
    assert sealed["dataset"]["name"] == source["name"]


def test_every_event_has_what_the_specification_asks_for(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Container(Settings(home=home, lineage=str(path))) as container:
        from_the_beginning(container)
        tell_lineage(container)
    for event in told(path):
        assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
        assert event["producer"].startswith("pkg:pypi/homeostat@")
        assert event["schemaURL"].startswith("https://openlineage.io/spec/")
        if "run" in event:
            assert str(uuid.UUID(event["run"]["runId"])) == event["run"]["runId"]
        for facet in facets(event):
            assert facet["_producer"].startswith("pkg:pypi/homeostat@")
            assert "/spec/facets/" in facet["_schemaURL"]


def facets(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("facets", "inputFacets", "outputFacets"):
                yield from inner.values()
            yield from facets(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from facets(inner)


@pytest.mark.parametrize("below", ["", "/catalogue", "/catalogue/"])
def test_a_server_that_was_away_hears_of_everything(
    home: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    monkeypatch.setenv("HOMEOSTAT_LINEAGE_TOKEN", "secret")
    with Container(Settings(home=home, lineage=f"{receiver.url}{below}")) as container:
        from_the_beginning(container)
        receiver.status = 503
        with pytest.raises(StoreUnavailable, match="HOMEOSTAT_LINEAGE"):
            tell_lineage(container)
        receiver.status = 201
        sent = tell_lineage(container)
    assert len(receiver.posts) == sent
    assert {post.path for post in receiver.posts} == {f"{below.rstrip('/')}/api/v1/lineage"}
    assert {post.headers["authorization"] for post in receiver.posts} == {"Bearer secret"}
    assert all(json.loads(post.body)["eventTime"] for post in receiver.posts)


def test_a_place_with_credentials_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HomeostatError, match="credentials"):
        Settings(home=tmp_path, lineage="https://me:secret@marquez")
