"""A version that no model server can load gives way by itself, and an incident says what was seen and done."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeostat.app import explain
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.serving import ModelServing
from homeostat.app.settings import Settings
from homeostat.domain.records import Alert, Deployment, ModelVersion
from tests.app.churning import declare, trained

CANARY = 'rollout=hs.Canary(share=0.5, watch=["errors"]),'


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home")) as made:
        yield made


def arms(container: Container) -> list[tuple[int, str]]:
    found = container.store.get(Deployment, "churn")
    assert found is not None
    return [(arm.version, arm.role) for arm in found.arms]


def stage(container: Container, version: int) -> str:
    found = container.store.get(ModelVersion, "churn", version)
    assert found is not None
    return found.stage


def damage(container: Container, version: int) -> None:
    """Alter the file of a version's model, as a failing disk does."""
    record = container.store.get(ModelVersion, "churn", version)
    assert record is not None
    digest = record.manifest["files"]["model.skops"].removeprefix("sha256:")
    paths = [
        path
        for path in container.settings.home.rglob("*")
        if path.is_file() and digest[4:] in str(path).replace("/", "")
    ]
    assert paths
    for path in paths:
        path.chmod(0o644)
        path.write_bytes(b"x" + path.read_bytes()[1:])


class Server:
    """A model server of this process."""

    def __init__(self, container: Container, name: str) -> None:
        self.serving = ModelServing(container, name)

    def look(self) -> dict[str, str]:
        """Follow the store and tell of it, as a server does all the time; gives what cannot be served."""
        asyncio.run(self.serving.plane.follow(force=True))
        self.serving.beat(f"/nowhere/{os.getpid()}", 1)
        return self.serving.plane.errors


def alerts(container: Container) -> list[Alert]:
    return container.store.find(Alert, ("subject", "=", "deployment/churn"))


def test_a_champion_that_cannot_be_loaded_gives_way_to_the_one_before_it(
    container: Container, tmp_path: Path
) -> None:
    declare(container, tmp_path / "project")
    trained(container)
    trained(container, C=0.5)
    assert arms(container) == [(2, "champion")]
    whole, fresh = Server(container, "w1"), Server(container, "w2")
    assert whole.look() == {}
    damage(container, 2)
    assert "is torn or altered" in fresh.look()["churn"]  # it starts now, the other has it in memory
    Controller(container).tick()
    errors = [process.get("errors") for process in explain.status(container)["processes"]]
    assert sum("churn" in told for told in errors if told) == 1
    assert arms(container) == [(2, "champion")]  # what one server alone says may be its own trouble

    whole = Server(container, "w1")  # started again
    whole.look()
    told = Controller(container).tick().did
    assert any("rolled back to @1" in line for line in told)
    assert arms(container) == [(1, "champion")]
    assert (stage(container, 1), stage(container, 2)) == ("champion", "rolled-back")
    assert whole.look() == fresh.look() == {}
    (alert,) = alerts(container)
    assert (alert.severity, alert.action) == ("page", "rolled back to @1")
    assert "@2 cannot be loaded" in alert.summary
    assert "is torn or altered" in alert.detail["seen"]
    assert alert.detail["seconds"]["to_heal"] >= 0
    Controller(container).tick()
    (alert,) = alerts(container)
    assert (alert.state, alert.decision) == (
        "resolved",
        "rolled back to @1",
    )  # no server tells of it any more


def test_without_a_version_to_return_to_it_is_told_once(container: Container, tmp_path: Path) -> None:
    declare(container, tmp_path / "project")
    trained(container)
    damage(container, 1)
    Server(container, "w1").look()
    for _ in range(2):
        Controller(container).tick()
    (alert,) = alerts(container)
    assert alert.action.startswith("none: there is no version to return to")
    assert arms(container) == [(1, "champion")]


def test_a_canary_that_cannot_be_loaded_is_taken_out(container: Container, tmp_path: Path) -> None:
    declare(container, tmp_path / "project", CANARY)
    trained(container)
    trained(container, C=0.5)
    assert arms(container) == [(1, "champion"), (2, "canary")]
    damage(container, 2)
    server = Server(container, "w1")
    assert set(server.look()) == {"churn"}
    Controller(container).tick()
    assert arms(container) == [(1, "champion")]
    assert stage(container, 2) == "rolled-back"
    assert server.look() == {}
    (alert,) = alerts(container)
    assert (alert.severity, alert.action) == ("ticket", "taken out; the champion answers")
