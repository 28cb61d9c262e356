"""A version that needs people's consent serves only once they gave it, to this package and under this policy."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from homeostat.app import approvals
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.rollouts import begin, promote
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.cli.program import app
from homeostat.domain import records
from homeostat.domain.declarations import ApprovalPolicy
from homeostat.domain.errors import BadRequest, Conflict, DeclarationError, NotFound
from homeostat.server.api import Api

PROJECT = """
import homeostat as hs
from sklearn.linear_model import LogisticRegression

customers = hs.Dataset("customers", key="id", path="customers.csv")

def train(data):
    return LogisticRegression().fit(data.X, data.y)

churn = hs.Model(
    "churn", task=hs.Binary(label="churned", source=customers), train=train, approval=hs.approval(POLICY)
)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    rng = np.random.default_rng(0)
    usage = rng.normal(size=200)
    churned = (usage + rng.normal(size=200) > 0).astype(int)
    pl.DataFrame({"id": range(200), "usage": usage, "churned": churned}).write_csv(folder / "customers.csv")
    return folder


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home")) as made:
        yield made


def declare(container: Container, folder: Path, policy: str) -> None:
    text = PROJECT.replace("hs.approval(POLICY)", policy if policy == "None" else f"hs.approval({policy})")
    (folder / "project.py").write_text(text)
    apply(container, load_project(folder))


def accepted(container: Container, folder: Path, policy: str = "") -> records.ModelVersion:
    declare(container, folder, policy)
    return again(container)


def again(container: Container) -> records.ModelVersion:
    made = execute(container, submit(container, "churn", reason="first", actor="ann").id)
    assert made is not None
    assert made.stage == "accepted", made.stage_reason
    react_all(container)
    return made


def stage(container: Container, version: int = 1) -> str:
    found = container.store.get(records.ModelVersion, "churn", version)
    assert found is not None
    return found.stage


def test_an_accepted_version_waits_for_its_approval(container: Container, folder: Path) -> None:
    made = accepted(container, folder)
    assert stage(container) == "accepted"
    assert begin(container, "churn", 1) is False
    (alert,) = container.store.find(records.Alert, ("state", "=", "open"))
    assert "waits for the approval of one more person" in alert.summary
    with pytest.raises(Conflict, match=r"waits for the approval.*homeostat approve churn@1"):
        promote(container, "churn", 1, actor="bob", reason="now")
    assert Controller(container).tick().busy == []  # it does not come by itself

    found = approvals.approve(container, "churn", 1, actor="bob", reason="looked at the slices")
    assert (found.missing, found.digest) == (0, made.digest)
    react_all(container)
    assert stage(container) == "champion"
    assert not container.store.find(records.Alert, ("state", "=", "open"))
    (event,) = container.ledger.find(subject="model/churn@1", kinds=["model.approved"])
    assert event.actor == "bob"
    assert event.body["digest"] == made.digest
    assert event.body["reason"] == "looked at the slices"
    assert container.ledger.verify().ok


def test_as_many_people_as_declared_have_to_agree(container: Container, folder: Path) -> None:
    accepted(container, folder, "by=2, requester=False")
    with pytest.raises(Conflict, match="ann asked for the training"):
        approvals.approve(container, "churn", 1, actor="ann", reason="mine")
    for _ in range(2):
        assert approvals.approve(container, "churn", 1, actor="bob", reason="fine").missing == 1
    react_all(container)
    assert stage(container) == "accepted"
    assert len(container.ledger.find(subject="model/churn@1", kinds=["model.approved"])) == 1
    assert approvals.approve(container, "churn", 1, actor="cid", reason="fine").missing == 0
    react_all(container)
    assert stage(container) == "champion"


def test_an_approval_is_to_one_package_under_one_policy(container: Container, folder: Path) -> None:
    accepted(container, folder, "by=2")
    approvals.approve(container, "churn", 1, actor="bob", reason="fine")
    declare(container, folder, "by=2, requester=False")
    found = approvals.standing(container, "churn", 1)
    assert (found.missing, [one.actor for one in found.others]) == (2, ["bob"])
    approvals.approve(container, "churn", 1, actor="bob", reason="still fine")
    assert approvals.standing(container, "churn", 1).missing == 1
    record = container.store.get(records.ModelVersion, "churn", 1)
    assert record is not None
    with container.store.begin() as tx:  # as no way of Homeostat's own does
        tx.put(msgspec.structs.replace(record, digest="sha256:" + "0" * 64))
    assert approvals.standing(container, "churn", 1).missing == 2
    again(container)
    assert approvals.standing(container, "churn", 2).missing == 2


def test_a_policy_that_asks_for_less_lets_waiting_versions_in(container: Container, folder: Path) -> None:
    accepted(container, folder, "by=3")
    declare(container, folder, "None")
    react_all(container)
    assert stage(container) == "champion"
    with pytest.raises(Conflict, match="needs no approval"):
        approvals.approve(container, "churn", 1, actor="bob", reason="late")


def test_what_cannot_be_approved(container: Container, folder: Path) -> None:
    accepted(container, folder)
    for actor, reason, field in (("", "x", "actor"), ("bob", " ", "reason"), ("b" * 300, "x", "actor")):
        with pytest.raises(BadRequest) as caught:
            approvals.approve(container, "churn", 1, actor=actor, reason=reason)
        assert caught.value.field == field
    with pytest.raises(Conflict, match="has the digest"):
        approvals.approve(container, "churn", 1, actor="bob", reason="x", digest="sha256:1")
    with pytest.raises(NotFound):
        approvals.approve(container, "churn", 9, actor="bob", reason="x")
    record = container.store.get(records.ModelVersion, "churn", 1)
    assert record is not None
    with container.store.begin() as tx:
        tx.put(msgspec.structs.replace(record, stage="rejected", stage_reason="auc"))
    with pytest.raises(Conflict, match="rejected: auc"):
        approvals.approve(container, "churn", 1, actor="bob", reason="x")
    assert container.store.count(records.Approval) == 0


def test_a_policy_needs_at_least_one_person() -> None:
    with pytest.raises(DeclarationError, match="approval by 0"):
        ApprovalPolicy(by=0)


def test_the_api_tells_and_takes_approvals(container: Container, folder: Path) -> None:
    made = accepted(container, folder)
    with ThreadPoolExecutor(1) as pool:
        client = TestClient(Api(container, pool), base_url="http://127.0.0.1")
        path = "/models/churn/versions/1"
        assert client.get(f"{path}/approvals").json()["missing"] == 1
        for body, status, field in (
            ({}, 400, ""),
            ({"reason": ""}, 400, "reason"),
            ({"reason": "x", "digest": "sha256:2"}, 409, ""),
        ):
            answer = client.post(f"{path}/approve", json=body)
            assert (answer.status_code, answer.json()["error"].get("field", "")) == (status, field)
        said = {"reason": "fine", "actor": "bob", "digest": made.digest}
        assert client.post(f"{path}/approve", json=said).json()["missing"] == 0
        assert client.get("/models/churn/versions/7/approvals").status_code == 404


def test_the_command(container: Container, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted(container, folder)
    monkeypatch.setattr(getpass, "getuser", lambda: "dee")
    home = ["--home", str(container.settings.home)]
    shown = CliRunner().invoke(app, ["models", "approvals", "churn@1", *home])
    assert "waits for 1 more of 1 approvals" in shown.output
    done = CliRunner().invoke(app, ["approve", "churn@1", "--reason", "read the card", "--json", *home])
    assert json.loads(done.output)["approvals"][0]["actor"] == "dee"
    assert stage(container) == "champion"
    assert "is approved" in CliRunner().invoke(app, ["models", "approvals", "churn@1", *home]).output
