"""The loop on a table of one's own: apply, train, gates, deployment, repair, in one process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from homeostat.app import explain
from homeostat.app.apply import apply, plan
from homeostat.app.container import Container
from homeostat.app.datasets import seal
from homeostat.app.deliveries import ingest
from homeostat.app.judging import judge
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.reading import read
from homeostat.app.rollouts import begin, promote, rollback
from homeostat.app.serving import load_version
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.domain import records
from homeostat.domain.errors import Conflict, ContractBroken, NotFound, StoreUnavailable
from homeostat.engine.registry.package import REFERENCE

PROJECT = """
import homeostat as hs
from sklearn.ensemble import RandomForestClassifier

customers = hs.Dataset("customers", key="id", path="customers.csv")

def train(data, *, trees: int = 20):
    return RandomForestClassifier(trees, random_state=0).fit(data.X, data.y)

def constant(data):
    from sklearn.dummy import DummyClassifier
    return DummyClassifier(strategy="prior").fit(data.X, 1 - data.y)

churn = hs.Model(
    "churn",
    task=hs.Binary(label="churned", source=customers),
    train=train,
    gates=[hs.beats("baseline", "auc"), hs.single_row_latency("p99", at_most="5s")],
    slo=hs.SLO(auc=0.6),
    retrain=hs.when(hs.new_labels(100)),
)
"""


def customers(rows: int, seed: int = 0, first: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    usage, calls = rng.normal(size=rows), rng.poisson(2, rows)
    churned = rng.random(rows) < 1 / (1 + np.exp(usage * 2 - calls + 1))
    return pl.DataFrame(
        {"id": np.arange(first, first + rows), "usage": usage, "calls": calls, "churned": churned.astype(int)}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "project.py").write_text(PROJECT)
    customers(400).write_csv(folder / "customers.csv")
    return folder


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home")) as made:
        yield made


def test_a_table_becomes_a_deployed_model(container: Container, folder: Path) -> None:
    declared = load_project(folder)
    assert {change.action for change in plan(container, declared)} == {"create"}
    apply(container, declared)
    assert {change.action for change in plan(container, declared)} == {"keep"}
    apply(container, declared)
    assert explain.status(container)["datasets"][0]["rows"] == 400  # the same file counts once

    run = submit(container, "churn", reason="first model", params={"trees": 30})
    version = execute(container, run.id)
    assert version is not None
    assert version.stage == "accepted", version.stage_reason
    react_all(container)
    deployment = container.store.get(records.Deployment, "churn")
    assert deployment is not None
    assert [(arm.version, arm.weight, arm.role) for arm in deployment.arms] == [(1, 1.0, "champion")]
    done = container.store.get(records.Run, run.id)
    assert done is not None
    assert (done.state, done.rows, done.params) == ("succeeded", 320, {"trees": 30})
    known = msgspec.json.decode(container.blobs.get(version.manifest["files"][REFERENCE]))
    assert (
        sum(known["features"]["score"]["counts"]) == 80
    )  # of the rows held out: a forest knows the others by heart
    tree = explain.lineage(container, "model/churn@champion", "up")
    assert "dataset/customers@1" in str(tree)
    assert container.ledger.verify().ok


def test_a_worse_candidate_is_rejected_and_history_is_kept(container: Container, folder: Path) -> None:
    apply(container, load_project(folder))
    execute(container, submit(container, "churn", reason="first").id)
    react_all(container)
    bad = execute(container, submit(container, "churn", reason="try", using="project:constant").id)
    assert bad is not None
    assert bad.stage == "rejected"
    assert "auc" in bad.stage_reason
    with pytest.raises(Conflict, match="rejected"):
        promote(container, "churn", bad.version, actor="user", reason="anyway")
    execute(container, submit(container, "churn", reason="second").id)
    react_all(container)
    alias = container.store.get(records.Alias, "churn", "champion")
    assert alias is not None
    assert alias.version == 3
    with pytest.raises(Conflict, match="champion already"):
        promote(container, "churn", 3, actor="user", reason="again")
    rollback(container, "churn", actor="user", reason="second thoughts")
    alias = container.store.get(records.Alias, "churn", "champion")
    assert alias is not None
    assert alias.version == 1
    assert container.ledger.verify().ok


def test_rows_that_break_the_contract_are_set_aside(container: Container, folder: Path) -> None:
    apply(container, load_project(folder))
    fresh = customers(3, seed=1, first=400).with_columns(usage=pl.Series(["1.5", "much", "0.1"]))
    done = ingest(container, "customers", fresh, token="a", tags={"injected": "a word for a number"})
    assert (done.accepted, done.quarantined) == (2, 1)
    assert done.reasons == {"usage is no float": 1}
    again = ingest(container, "customers", fresh, token="a")
    assert again.repeated
    (kept,) = container.store.find(records.Quarantined)
    assert (kept.column, kept.count, kept.tags) == ("usage", 1, {"injected": "a word for a number"})
    assert kept.rows[0]["usage"] == "much"
    (alert,) = container.store.find(records.Alert)
    assert "usage" in alert.summary
    assert alert.tags == {"injected": "a word for a number"}
    with pytest.raises(ContractBroken, match="colour"):
        ingest(container, "customers", fresh.with_columns(colour=pl.lit("red")))
    assert read(container, "customers").collect().height == 402


def test_versions_are_immutable_and_sealing_survives_a_torn_write(container: Container, folder: Path) -> None:
    apply(container, load_project(folder))
    first = seal(container, "customers")
    assert first is not None
    assert seal(container, "customers") == first
    # A process that died after writing the table and before the record: nobody refers to what it wrote.
    container.tables.append("customers", customers(7, first=900), base=first.table_version)
    ingest(container, "customers", customers(5, seed=2, first=500))
    second = seal(container, "customers")
    assert second is not None
    assert second.rows == 405
    assert read(container, "customers").collect().height == 405
    assert read(container, "customers", version=1).collect().height == 400
    with pytest.raises(NotFound, match="@9"):
        read(container, "customers", version=9)


@pytest.mark.parametrize("before", [True, False])
def test_what_is_sealed_while_it_is_read_is_read_once(
    container: Container, folder: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    apply(container, load_project(folder))
    seal(container, "customers")
    ingest(container, "customers", customers(5, first=1000))
    store = container.store
    find = store.find

    def sealing(kind: Any, *where: Any, **how: Any) -> Any:
        if kind is records.Batch and before:
            seal(container, "customers")
        found = find(kind, *where, **how)
        if kind is records.Batch:
            seal(container, "customers")
        return found

    monkeypatch.setattr(store, "find", sealing)
    assert read(container, "customers").collect().height == 405


def trained(container: Container, versions: int) -> None:
    for _ in range(versions):
        execute(container, submit(container, "churn", reason="again").id)


def test_a_version_that_comes_in_at_once_ends_the_canary_before_it(
    container: Container, folder: Path
) -> None:
    apply(container, load_project(folder))
    trained(container, 1)
    react_all(container)
    trained(container, 2)
    second = container.store.get(records.ModelVersion, "churn", 2)
    assert second is not None
    with container.store.begin() as tx:
        tx.put(msgspec.structs.replace(second, stage="canary"))
        tx.insert(
            records.Rollout(
                id="r",
                deployment="churn",
                candidate=2,
                champion=1,
                state="running",
                share=0.5,
                began_at=container.clock.now(),
            )
        )
    assert begin(container, "churn", 3)
    assert [v.stage for v in container.store.find(records.ModelVersion)] == [
        "retired",
        "superseded",
        "champion",
    ]
    assert not container.store.find(records.Rollout, ("state", "=", "running"))


def test_a_champion_that_is_promoted_meanwhile_is_not_passed_over(
    container: Container, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(container, load_project(folder))
    trained(container, 1)
    react_all(container)
    trained(container, 2)
    store = container.store
    get = store.get

    def promoting(kind: Any, *key: Any) -> Any:
        found = get(kind, *key)
        if kind is records.Alias:
            monkeypatch.undo()
            promote(container, "churn", 2, actor="user", reason="by hand")
        return found

    monkeypatch.setattr(store, "get", promoting)
    with pytest.raises(Conflict, match="another champion"):
        begin(container, "churn", 3)
    alias = container.store.get(records.Alias, "churn", "champion")
    assert alias is not None
    assert alias.version == 2
    assert begin(container, "churn", 3)


def test_rows_that_were_stored_are_not_refused_for_their_features(
    container: Container, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(container, load_project(folder))

    def away(*_: object) -> None:
        raise StoreUnavailable("the online store does not answer")

    monkeypatch.setattr("homeostat.app.deliveries.refresh", away)
    assert ingest(container, "customers", customers(5, first=1000)).accepted == 5
    assert read(container, "customers").collect().height == 405


def test_a_candidate_that_cannot_be_judged_is_rejected_once(container: Container, folder: Path) -> None:
    apply(container, load_project(folder))
    version = execute(container, submit(container, "churn", reason="first").id)
    assert version is not None
    with container.store.begin() as tx:
        tx.put(msgspec.structs.replace(version, stage="candidate"))
    container.blobs.delete(version.manifest["files"]["model.skops"])
    judged = judge(container, "churn", version.version)
    assert judged.stage == "rejected"
    assert "judging it failed: NotFound" in judged.stage_reason
    assert judge(container, "churn", version.version) == judged


def test_a_training_that_fails_says_why(container: Container, folder: Path) -> None:
    text = PROJECT.replace("RandomForestClassifier(trees", "RandomForestClassifier(-trees")
    (folder / "project.py").write_text(text)
    apply(container, load_project(folder))
    run = submit(container, "churn", reason="first")
    with pytest.raises(ValueError, match="n_estimators"):
        execute(container, run.id)
    failed = container.store.get(records.Run, run.id)
    assert failed is not None
    assert failed.state == "failed"
    assert "n_estimators" in failed.error
    with pytest.raises(Conflict, match="no parameter 'depth'"):
        submit(container, "churn", reason="typo", params={"depth": 3})


def test_a_model_that_is_declared_no_more_stops_and_comes_back(container: Container, folder: Path) -> None:
    apply(container, load_project(folder))
    execute(container, submit(container, "churn", reason="first").id)
    react_all(container)
    (folder / "project.py").write_text(PROJECT[: PROJECT.index("def train")])
    removed = [change for change in apply(container, load_project(folder)) if change.action == "remove"]
    assert [change.ref for change in removed] == ["model/churn"]
    deployment = container.store.get(records.Deployment, "churn")
    assert deployment is not None
    assert deployment.arms == []
    (folder / "renamed.py").write_text(PROJECT)
    apply(container, load_project(folder / "renamed.py"))  # the file may have another name by now
    deployment = container.store.get(records.Deployment, "churn")
    assert deployment is not None
    assert [arm.version for arm in deployment.arms] == [1]
    assert load_version(container, "churn", 1).version == 1
    assert container.ledger.verify().ok
