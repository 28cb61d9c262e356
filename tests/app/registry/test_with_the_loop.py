"""The registry and the loop share models, versions and aliases; the loop acts only on what it made."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from homeostat.app import artifacts
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.explain import status
from homeostat.app.modelcard import bill_of_materials, card
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.registry import aliases, directories, models, reading, versions
from homeostat.app.registry.aliases import live_at
from homeostat.app.registry.comparing import compare
from homeostat.app.registry.pointers import champion_of
from homeostat.app.rollouts import promote, rollback
from homeostat.app.settings import Settings
from homeostat.app.tracking import create_experiment, create_run, log, log_inputs
from homeostat.app.training import execute, submit
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.domain.records import Deployment, GateResult, ModelVersion, Run
from homeostat.domain.tracking import RunInput
from homeostat.engine.tracking.points import Point

PROJECT = """
import homeostat as hs
from sklearn.linear_model import LogisticRegression

customers = hs.Dataset("customers", key="id", path="customers.csv")

def train(data, *, strength: float = 1.0):
    return LogisticRegression(C=strength).fit(data.X, data.y)

def wrong(data):
    return LogisticRegression().fit(data.X, 1 - data.y)

churn = hs.Model(
    "churn",
    task=hs.Binary(label="churned", source=customers),
    train=train,
    gates=[hs.beats("baseline", "auc")],
)
"""
OTHER = "import homeostat as hs\ncustomers = hs.Dataset('customers', key='id', path='customers.csv')\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "project.py").write_text(PROJECT)
    rng = np.random.default_rng(0)
    usage = rng.normal(size=300)
    churned = (rng.random(300) < 1 / (1 + np.exp(3 * usage))).astype(int)
    pl.DataFrame({"id": range(300), "usage": usage, "churned": churned}).write_csv(folder / "customers.csv")
    return folder


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home")) as container:
        yield container


def train(container: Container, **given: object) -> ModelVersion:
    """Train, judge and roll out one version."""
    run = submit(container, "churn", reason="to see", **given)  # type: ignore[arg-type] # as submit takes it
    version = execute(container, run.id)
    assert version is not None
    react_all(container)
    return reading.version(container.store, "churn", version.version).record


def arms(container: Container) -> list[int]:
    deployment = container.store.get(Deployment, "churn")
    assert deployment is not None
    return [arm.version for arm in deployment.arms]


def test_what_the_loop_trains_is_registered(container: Container, folder: Path) -> None:
    apply(container, load_project(folder))
    apply(container, load_project(folder))
    registered = container.ledger.find(kinds=["model.registered"])
    assert [(event.subject, event.actor) for event in registered] == [("model/churn", "homeostat")]
    made = train(container, tags={"why": "test"})
    found = reading.resolve(container.store, "churn", "champion")
    assert (found.record.version, found.tags, found.aliases) == (1, {"why": "test"}, ["champion"])
    run = container.store.get(Run, made.run)
    assert run is not None
    assert made.source == f"mlflow-artifacts:/{run.experiment}/{run.id}/artifacts/model"
    assert versions.download_uri(container, "churn", 1) == made.source
    place = made.source.removeprefix("mlflow-artifacts:/")
    shown = directories.export_files(container, "churn", "1")  # an MLflow model directory
    assert {"MLmodel", "model.skops", "input_example.json", "homeostat/signature.json"} <= shown.keys()
    listed = {entry.name: entry.size for entry in artifacts.listing(container, place)}
    assert listed.keys() == {name.partition("/")[0] for name in shown}
    for name, wanted in shown.items():
        file = artifacts.find(container, f"{place}/{name}")
        assert b"".join(artifacts.content(container, file)) == wanted
    for name, digest in made.manifest["files"].items():  # which holds the package's own files
        assert (
            container.blobs.get(digest)
            == shown["model.skops" if name == "model.skops" else f"homeostat/{name}"]
        )
    assert reading.model(container.store, "churn").latest == [found]


def test_what_a_client_registered_is_left_alone(container: Container, folder: Path) -> None:
    """Under a name that a project declares later: numbers go on, and its champion is none that could be served."""
    models.register(container, "churn", description="by hand")
    versions.create(container, "churn", "s3://bucket/model")
    aliases.set_alias(container, "churn", "champion", 1)
    apply(container, load_project(folder))
    controller = Controller(container)
    assert arms(container) == []
    assert controller.tick().busy == []
    assert champion_of(container.store, "churn") is None
    assert status(container)["versions"] == []
    with pytest.raises(Conflict, match="is registered"):
        promote(container, "churn", 1, actor="ada", reason="wanted")
    assert train(container).version == 2
    assert arms(container) == [2]
    versions.create(container, "churn", "s3://bucket/model")
    with pytest.raises(BadRequest, match="is registered"):
        aliases.set_alias(container, "churn", "champion", 3)
    with pytest.raises(Conflict, match="no champion before this one"):
        rollback(container, "churn", actor="ada", reason="back")  # the one before has no package
    controller.tick()
    stages = [shown.record.stage for shown in reading.versions(container.store, "churn", limit=9)]
    assert stages == ["registered", "champion", "registered"]
    assert reading.model(container.store, "churn").record.description == "by hand"


def test_setting_the_champion_of_a_deployment_promotes(container: Container, folder: Path) -> None:
    apply(container, load_project(folder))
    first, second = train(container), train(container)
    rejected = train(container, using="project:wrong")
    assert (arms(container), rejected.stage) == ([second.version], "rejected")
    aliases.set_alias(container, "churn", "champion", first.version, actor="ada")
    assert arms(container) == [first.version]
    moved = container.ledger.find(subject="model/churn@champion")[0]
    assert (moved.actor, moved.body["from"], moved.body["to"]) == ("ada", second.version, first.version)
    events = container.ledger.head().seq
    aliases.set_alias(container, "churn", "champion", first.version)  # it is already
    assert container.ledger.head().seq == events
    with pytest.raises(BadRequest, match="is rejected"):
        aliases.set_alias(container, "churn", "champion", rejected.version)
    with pytest.raises(NotFound):
        aliases.set_alias(container, "churn", "champion", 99)
    with pytest.raises(BadRequest, match="serves it"):
        aliases.drop_alias(container, "churn", "champion")
    aliases.set_alias(container, "churn", "candidate", rejected.version)  # any other is a name and no more
    assert arms(container) == [first.version]


def test_what_a_project_declares_stays(container: Container, folder: Path) -> None:
    apply(container, load_project(folder))
    first, second = train(container), train(container)
    for refused in (
        lambda: models.rename(container, "churn", "other"),
        lambda: models.delete(container, "churn"),
    ):
        with pytest.raises(BadRequest, match="project/project declares it"):
            refused()
    with pytest.raises(BadRequest, match="serves it"):
        versions.delete(container, "churn", second.version)
    versions.delete(container, "churn", first.version)
    assert container.store.count(GateResult, ("version", "=", first.version)) == 0
    with pytest.raises(Conflict, match="no champion before this one"):
        rollback(container, "churn", actor="ada", reason="back")
    (folder / "project.py").write_text(OTHER)
    apply(container, load_project(folder))
    with pytest.raises(BadRequest, match="it was deployed"):
        models.delete(container, "churn")
    models.describe(container, "churn", "what it was")


def test_what_is_on_its_way_into_service_is_not_deleted(container: Container, folder: Path) -> None:
    apply(container, load_project(folder))
    run = submit(container, "churn", reason="to see")
    accepted = execute(container, run.id)
    assert accepted is not None
    with pytest.raises(BadRequest, match="it is accepted, on its way into service"):
        versions.delete(container, "churn", accepted.version)


def test_what_was_live_at_any_time(container: Container, folder: Path) -> None:
    apply(container, load_project(folder))
    now = container.clock.now
    before = now()
    train(container)
    between = now()
    train(container)
    promoted = now()
    rollback(container, "churn", actor="ada", reason="too eager")
    found = [live_at(container, "churn", at) for at in (before, between, promoted, now())]
    assert [(one.version, [arm["version"] for arm in one.arms]) for one in found] == [
        (None, []),
        (1, [1]),
        (2, [2]),
        (1, [1]),
    ]
    last = found[-1]
    assert (last.actor, last.reason) == ("ada", "too eager")
    assert last.since is not None
    assert promoted <= last.since <= last.at
    assert container.ledger.find(subject="model/churn@champion")[0].seq == last.event
    with pytest.raises(NotFound):
        live_at(container, "nothing", now())


def test_what_was_live_under_former_names(container: Container) -> None:
    now = container.clock.now
    times = []
    models.register(container, "a")
    for _ in range(2):
        versions.create(container, "a", "s3://b/m")
    for number, (old, new) in enumerate([("a", "b"), ("b", "a"), ("a", "c")]):
        aliases.set_alias(container, old, "live", 1 + number % 2)
        times.append(now())
        models.rename(container, old, new)
    assert [live_at(container, "c", at, "live").version for at in times] == [1, 2, 1]
    aliases.drop_alias(container, "c", "live")
    assert live_at(container, "c", now(), "live").version is None
    assert live_at(container, "c", times[0] - timedelta(days=1), "live").version is None
    models.delete(container, "c")
    assert live_at(container, "c", times[1], "live").version == 2


def test_what_two_versions_differ_in(container: Container, folder: Path) -> None:
    apply(container, load_project(folder))
    train(container)
    train(container, params={"strength": 0.001}, tags={"try": "small"})
    found = compare(container, "model/churn@1", "model/churn")
    assert (found.old, found.new) == ("model/churn@1", "model/churn@2")
    differing = {(d.group, d.name): (d.old, d.new) for d in found.differences}
    assert differing["params", "strength"] == (None, 0.001)
    assert differing["tags", "try"] == (None, "small")
    assert differing["version", "stage"] == ("retired", "champion")
    assert ("files", "model.skops") in differing
    assert ("files", "environment.txt") not in differing
    old, new = differing["metrics", "holdout_log_loss"]
    assert old < new
    assert found.same["data"] == 1
    assert found.same["signature"] >= 4
    assert found.same["environment"] > 10
    assert compare(container, "model/churn@2", "model/churn@champion").differences == []
    with pytest.raises(NotFound):
        compare(container, "model/churn@9", "model/churn")
    with pytest.raises(BadRequest, match="no version of a model"):
        compare(container, "dataset/customers@1", "model/churn")


MLMODEL = """
flavors:
  sklearn: {serialization_format: SERIAL, sklearn_version: 1.7.0}
signature:
  inputs: '[{"type": "double", "name": "x", "required": true}, {"type": "TYPE", "name": "y"}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'
  params: null
"""


def test_what_two_mlflow_models_differ_in(container: Container) -> None:
    models.register(container, "tide")
    experiment = create_experiment(container, "exp").id
    for kind, serial, needs in (("long", "skops", "numpy==2.1"), ("string", "pickle", "numpy==2.2\npolars")):
        run = create_run(container, experiment).id
        log(container, run, metrics=[Point("loss", 0.5, 0, 0)], params={"depth": "3", "kind": kind})
        read = [
            RunInput(run="", name="rows", digest=one, source_type="local", source="/")
            for one in (kind, "test")
        ]
        log_inputs(container, run, read)
        place = f"{experiment}/{run}/artifacts/model"
        text = MLMODEL.replace("TYPE", kind).replace("SERIAL", serial)
        artifacts.write(container, f"{place}/MLmodel", text.encode())
        artifacts.write(container, f"{place}/requirements.txt", f"# made by hand\n{needs}\n".encode())
        artifacts.write(container, f"{place}/data/model.bin", b"the same")
        versions.create(container, "tide", f"mlflow-artifacts:/{place}", run=run)
    found = compare(container, "model/tide@1", "model/tide@2")
    differing = {(d.group, d.name): (d.old, d.new) for d in found.differences}
    assert differing.pop(("training", "run")) != ()
    assert [key for key in differing if key[0] == "files"] == [
        ("files", "MLmodel"),
        ("files", "requirements.txt"),
    ]
    assert {key: value for key, value in differing.items() if key[0] != "files"} == {
        ("params", "kind"): ("long", "string"),
        ("data", "rows"): ("long, test", "string, test"),
        ("signature", "input y"): ('{"type":"long"}', '{"type":"string"}'),
        ("flavors", "sklearn"): (
            '{"serialization_format":"skops","sklearn_version":"1.7.0"}',
            '{"serialization_format":"pickle","sklearn_version":"1.7.0"}',
        ),
        ("environment", "numpy"): ("2.1", "2.2"),
        ("environment", "polars"): (None, "any"),
    }
    same = {"version": 2, "metrics": 1, "params": 1, "training": 1, "signature": 2, "files": 1}
    assert found.same == same  # of the training: the seed
    described = card(container, "tide", "2")
    assert sorted(one.ref for one in described.contents.data) == ["rows@string", "rows@test"]
    assert bill_of_materials(described).count(b'"bom-ref": "rows@') == 2
    artifacts.write(container, f"{place}/MLmodel", b"flavors: [")
    broken = compare(container, "model/tide@1", "model/tide@2").differences
    assert ("signature", "MLmodel") in [(d.group, d.name) for d in broken]
