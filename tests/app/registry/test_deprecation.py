"""A deprecated version goes on serving, tells everybody, and from its date on is not deployed anew."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from homeostat.app.container import Container
from homeostat.app.reactors import react_all
from homeostat.app.registry import models, reading, versions
from homeostat.app.registry.aliases import set_alias
from homeostat.app.registry.deprecation import deprecate, undo
from homeostat.app.rollouts import promote
from homeostat.app.serving import load_version
from homeostat.app.settings import Settings
from homeostat.cli.program import app
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.domain.records import Alert, Deprecation
from homeostat.server.api import Api
from tests.app.churning import declare, trained
from tests.conftest import Databases


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home")) as made:
        yield made


@pytest.fixture
def on_postgres(tmp_path: Path, databases: Databases) -> Iterator[Container]:
    url = databases.make()
    with Container(Settings(home=tmp_path / "home", store=url)) as made:
        yield made
    databases.drop(url)


def open_alerts(container: Container) -> list[str]:
    return [alert.summary for alert in container.store.find(Alert, ("state", "=", "open"))]


def test_what_serves_goes_on_with_a_warning_and_what_is_over_is_not_deployed(
    container: Container, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    declare(container, tmp_path / "project")
    trained(container)
    trained(container, C=2.0)
    now = container.clock.now()
    promote(container, "churn", 1, actor="ann", reason="go back")
    shown = deprecate(
        container,
        "churn",
        "1",
        on=now + timedelta(days=9),
        reason="old data",
        use="churn@latest",
        actor="ann",
    )
    assert shown.deprecation is not None
    assert shown.deprecation.use == "model/churn@2"
    (told,) = open_alerts(container)
    assert told.startswith("deployment/churn serves model/churn@1, which is deprecated from")
    with caplog.at_level(logging.WARNING):
        assert load_version(container, "churn", 1).version == 1
    assert "model/churn@1 is deprecated from" in caplog.text
    promote(container, "churn", 2, actor="ann", reason="as told")
    assert open_alerts(container) == []

    promote(container, "churn", 1, actor="ann", reason="before its date it may still be deployed")
    assert len(open_alerts(container)) == 1
    promote(container, "churn", 2, actor="ann", reason="as told")
    deprecate(container, "churn", "1", on=now - timedelta(days=1), reason="wrong labels")
    with pytest.raises(Conflict, match=r"is deprecated from .*: wrong labels"):
        promote(container, "churn", 1, actor="ann", reason="go back")
    with pytest.raises(BadRequest, match="wrong labels"):  # as MLflow's client asks
        set_alias(container, "churn", "champion", 1)
    set_alias(container, "churn", "staging", 1)  # an alias that deploys nothing
    (moved,) = container.ledger.find(subject="model/churn@staging", kinds=["model.alias-moved"])
    assert "wrong labels" in moved.body["deprecated"]

    undo(container, "churn", "1", reason="the labels were right", actor="ann")
    promote(container, "churn", 1, actor="ann", reason="go back")
    kinds = [event.kind for event in container.ledger.find(subject="model/churn@1", limit=100)]
    assert kinds.count("model.deprecated") == 2
    assert kinds.count("model.deprecation-undone") == 1
    with pytest.raises(Conflict, match="is not deprecated"):
        undo(container, "churn", "1")


def test_an_accepted_version_that_is_over_waits_until_that_is_undone(
    container: Container, tmp_path: Path
) -> None:
    declare(container, tmp_path / "project", "approval=hs.approval(),")
    trained(container)
    deprecate(container, "churn", "1", on=container.clock.now(), reason="mistake")
    declare(container, tmp_path / "project")  # nobody's consent is needed any more
    react_all(container)
    assert reading.resolve(container.store, "churn", "1").record.stage == "accepted"
    undo(container, "churn", "1")
    react_all(container)
    assert reading.resolve(container.store, "churn", "1").record.stage == "champion"


@pytest.mark.parametrize("store", ["container", "on_postgres"])
def test_it_goes_where_its_version_goes(request: pytest.FixtureRequest, store: str) -> None:
    container: Container = request.getfixturevalue(store)
    models.register(container, "plain")
    for number in (1, 2, 3):
        versions.create(container, "plain", f"s3://bucket/{number}")
        deprecate(container, "plain", str(number), on=container.clock.now(), reason=f"reason {number}")
    versions.delete(container, "plain", 2)
    models.rename(container, "plain", "other")
    shown = reading.model(container.store, "other")
    assert sorted(shown.deprecated) == [1, 3]
    found = reading.resolve(container.store, "other", "3").deprecation
    assert found is not None
    assert found.reason == "reason 3"
    models.delete(container, "other")
    assert container.store.count(Deprecation) == 0


def test_what_cannot_be_said(container: Container) -> None:
    models.register(container, "plain")
    versions.create(container, "plain", "s3://bucket/1")
    now = container.clock.now()
    with pytest.raises(NotFound):
        deprecate(container, "plain", "2", on=now, reason="x")
    with pytest.raises(NotFound):
        deprecate(container, "plain", "1", on=now, reason="x", use="plain@7")
    with pytest.raises(BadRequest, match="replace itself"):
        deprecate(container, "plain", "1", on=now, reason="x", use="plain@1")
    with pytest.raises(BadRequest, match="without a reason"):
        deprecate(container, "plain", "1", on=now, reason=" ")
    assert container.store.count(Deprecation) == 0


def test_the_api_the_wire_and_the_command(container: Container) -> None:
    models.register(container, "plain")
    for number in (1, 2):
        versions.create(container, "plain", f"s3://bucket/{number}")
    home = ["--home", str(container.settings.home)]
    runner = CliRunner()
    said = ["models", "deprecate", "plain@1", "--on", "2026-12-31", "--reason", "old", "--use", "plain@2"]
    done = runner.invoke(app, [*said, *home], catch_exceptions=False)
    assert done.output == (
        "model/plain@1 is deprecated from 2026-12-31 on: old; use model/plain@2 instead.\n"
    )
    for command in (["models", "ls"], ["models", "show", "plain"], ["models", "show", "plain@1"]):
        assert "2026-12-31" in runner.invoke(app, [*command, *home]).output
    for wrong in ([], ["--on", "2026-12-31"], ["--undo", "--on", "2026-12-31", "--reason", "x"]):
        assert runner.invoke(app, ["models", "deprecate", "plain@1", *wrong, *home]).exit_code != 0
    with ThreadPoolExecutor(1) as pool:
        client = TestClient(Api(container, pool), base_url="http://127.0.0.1")
        asked = {"name": "plain", "version": "1"}
        found = client.get("/api/2.0/mlflow/model-versions/get", params=asked).json()["model_version"]
        assert {tag["key"]: tag["value"] for tag in found["tags"]} == {
            "homeostat.deprecated_on": "2026-12-31",
            "homeostat.deprecated_because": "old",
            "homeostat.use_instead": "model/plain@2",
        }
        assert found["status_message"].startswith("deprecated from 2026-12-31 on: old")
        path = "/models/plain/versions/1"
        assert client.post(f"{path}/restore", json={}).json()["deprecation"] is None
        assert client.post(f"{path}/restore", json={}).status_code == 409
        body = {"on": "2027-01-01T00:00:00", "reason": "older"}
        assert client.post(f"{path}/deprecate", json=body).json()["deprecation"]["reason"] == "older"
        for wrong_body in ({}, {"on": "soon", "reason": "x"}, {"on": "2027-01-01T00:00:00Z", "reason": ""}):
            assert client.post(f"{path}/deprecate", json=wrong_body).status_code == 400
    undone = runner.invoke(app, ["models", "deprecate", "plain@1", "--undo", "--json", *home])
    assert json.loads(undone.output)["deprecation"] is None
