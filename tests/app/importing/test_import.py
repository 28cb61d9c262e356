"""Imports: ids stay, a second one adds nothing, a killed one is ended by the next, and what is here already stays."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from homeostat.adapters.sources import messages
from homeostat.app.container import Container
from homeostat.app.importing import Progress, Summary, import_tracking, staging
from homeostat.app.registry.aliases import set_alias
from homeostat.app.registry.models import register
from homeostat.app.registry.versions import create, download_uri
from homeostat.app.settings import Settings
from homeostat.app.tracking import (
    create_experiment,
    create_run,
    delete_experiment,
    delete_run,
    experiment_by_name,
    log,
    run_data,
    tag_run,
    update_run,
)
from homeostat.domain.errors import NotInstalled
from homeostat.domain.records import ModelVersion, Run
from homeostat.domain.tracking import ArtifactFile, Experiment, LoggedModel, MetricBlock, RegisteredModel
from homeostat.engine.tracking.points import Point
from tests.adapters.sources import places
from tests.app.importing.snapshot import shown, snapshot

MAKERS: dict[str, Callable[[Path], Path]] = {
    "folder": places.mlruns,
    "database": places.database,
    "wandb": places.wandb,
    "tensorboard": places.tensorboard,
}


@pytest.fixture
def container(store_url: str, tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home", store=store_url)) as container:
        yield container


@pytest.fixture
def other(tmp_path: Path, sqlite_template: bytes) -> Iterator[Container]:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "homeostat.db").write_bytes(sqlite_template)
    with Container(Settings(home=tmp_path / "other")) as container:
        yield container


@pytest.fixture(params=MAKERS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return MAKERS[request.param](tmp_path / "source")


def bring(container: Container, place: Path | str, *, dry_run: bool = False) -> Summary:
    source = container.source(str(place))
    try:
        return import_tracking(container, source, dry_run=dry_run)
    finally:
        source.close()


def run_named(container: Container, name: str) -> Run:
    (found,) = container.store.find(Run, ("name", "=", name))
    return found


def test_a_second_import_adds_nothing(container: Container, place: Path) -> None:
    first = bring(container, place)
    assert first.runs.new > 0
    assert first.points > 0
    assert first.files > 0
    assert first.failed == 0
    head, held = container.ledger.head(), snapshot(container)
    second = bring(container, place)
    assert container.ledger.head() == head
    assert snapshot(container) == held
    assert (second.points, second.files, second.bytes, second.failed) == (0, 0, 0, 0)
    assert second.runs.same == first.runs.new
    assert second.runs.new == second.runs.completed == 0
    assert second.experiments.same == first.experiments.new
    assert container.ledger.verify().ok


def test_a_dry_run_says_what_would_come_and_writes_nothing(container: Container, place: Path) -> None:
    head, held = container.ledger.head(), snapshot(container)
    told = bring(container, place, dry_run=True)
    assert container.ledger.head() == head
    assert snapshot(container) == held
    done = bring(container, place)
    assert (told.runs, told.points, told.files, told.bytes) == (
        done.runs,
        done.points,
        done.files,
        done.bytes,
    )
    assert (told.models, told.versions, told.logged_models) == (
        done.models,
        done.versions,
        done.logged_models,
    )
    assert told.notes == done.notes
    assert bring(container, place, dry_run=True).runs.same == done.runs.new


def test_everything_of_mlflow_is_here_under_its_ids(container: Container, tmp_path: Path) -> None:
    root = places.mlruns(tmp_path)
    source = places.runs(container.source(str(root)))
    summary = bring(container, root)
    assert (summary.runs.new, summary.experiments.new, summary.versions.new) == (6, 3, 2)
    for name, given in source.items():
        run = run_named(container, name)
        assert run.id == given.run.id
        assert (run.state, run.started_at, run.ended_at) == (
            given.run.state,
            given.run.started_at,
            given.run.ended_at,
        )
        data = run_data(container, [run.id])[run.id]
        assert (data.params, data.tags) == (given.params, given.tags)
        assert {metric.key for metric in data.metrics} == places.points(given).keys()
        for key, points in places.points(given).items():
            assert {(value, at, step) for at, step, value in shown(container, run.id, key)} == set(points)
    first = experiment_by_name(container, "first")
    assert first is not None
    assert str(first.id) in {path.name for path in root.iterdir()}
    given = next(
        item.load() for item in container.source(str(root)).experiments() if item.load().name == "first"
    )
    assert (first.created_at, first.updated_at) == (given.created_at, given.updated_at)
    one = run_named(container, "one")
    (file,) = container.store.find(ArtifactFile, ("root", "=", f"{first.id}/{one.id}/artifacts"))
    assert file.path == "notes/hello.txt"
    latest = {metric.key: metric.value for metric in run_data(container, [one.id])[one.id].metrics}
    assert (latest["loss"], latest["val/acc"]) == (0.1, None)
    (read,) = run_data(container, [one.id])[one.id].inputs
    assert read.context == "training"


def test_registered_versions_lead_to_the_files_that_came(container: Container, tmp_path: Path) -> None:
    bring(container, places.database(tmp_path))
    one = run_named(container, "one")
    first, _ = container.store.find(ModelVersion, ("model", "=", "churn"))
    assert (first.version, first.stage, first.label, first.run) == (1, "registered", "Production", one.id)
    model = first.logged_model
    assert download_uri(container, "churn", 1) == f"mlflow-artifacts:/1/models/{model}/artifacts"
    assert download_uri(container, "churn", 3) == f"mlflow-artifacts:/1/{one.id}/artifacts/notes"
    record = container.store.get(RegisteredModel, "churn")
    assert record is not None
    assert (record.versions, record.latest) == (3, {"Production": 1, "None": 3})
    made = create(container, "churn", f"runs:/{one.id}/notes", run=one.id)
    assert made.record.version == 4
    (moved,) = container.ledger.find(kinds=["model.alias-moved"])
    assert moved.body["to"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["folder", "wandb"])
def test_an_import_that_is_killed_is_ended_by_the_next(
    container: Container, other: Container, tmp_path: Path, name: str, store_url: str
) -> None:
    place = MAKERS[name](tmp_path / "source")
    bring(other, place)
    whole = snapshot(other)
    killed = 0
    for step in (2, 7, 12, 20):
        arguments = [str(tmp_path / "home"), store_url, str(place), str(step)]
        process = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, process.stderr
        killed += 1
        held = snapshot(container)
        for run in held["Run"]:
            assert of(run, held) == of(run, whole)  # where a run is, all of it is
    assert killed > 1
    bring(container, place)
    assert snapshot(container) == whole
    assert container.ledger.verify().ok


def of(run: Run, held: dict[str, Any]) -> list[Any]:
    """All that a snapshot has of a run."""
    kinds = ("Param", "RunTag", "Metric", "RunInput", "RunModel")
    records = [[record for record in held[kind] if record.run == run.id] for kind in kinds]
    points = {key: rows for (id, key), rows in held["points"].items() if id == run.id}
    files = {path: data for (root, path), data in held["files"].items() if run.id in root}
    return [run, records, points, files]


KILLED = """
import os, signal, sys
from pathlib import Path
from homeostat.adapters.sql.store import SqlTransaction
from homeostat.app.container import Container
from homeostat.app.importing import import_tracking
from homeostat.app.settings import Settings

home, store, place, after = sys.argv[1:]
left = int(after)
write = SqlTransaction._write

def counted(self, records, **options):
    global left
    left -= 1
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(self, records, **options)

SqlTransaction._write = counted
with Container(Settings(home=Path(home), store=store)) as container:
    import_tracking(container, container.source(place))
"""


def test_what_is_new_in_the_source_is_added_later(container: Container, tmp_path: Path) -> None:
    root = places.mlruns(tmp_path)
    bring(container, root)
    going = run_named(container, "going")
    (folder,) = root.glob(f"*/{going.id}")
    with (folder / "metrics" / "m").open("a") as file:
        file.write("1800000000000 7.5 3\n")
    (folder / "params" / "late").write_text("yes")
    (folder / "artifacts" / "log.txt").write_text("done")
    meta = folder / "meta.yaml"
    meta.write_text(
        meta.read_text()
        .replace("status: 1", "status: 3")
        .replace("end_time: null", "end_time: 1800000000001")
    )
    summary = bring(container, root)
    assert (summary.runs.completed, summary.runs.same, summary.runs.new) == (1, 5, 0)
    assert (summary.points, summary.files) == (1, 1)
    found = run_named(container, "going")
    assert found.state == "succeeded"
    data = run_data(container, [going.id])[going.id]
    assert data.params == {"late": "yes"}
    assert [metric.value for metric in data.metrics] == [7.5]
    assert len(shown(container, going.id, "m")) == 2
    assert bring(container, root).runs.same == 6


def test_what_is_here_already_is_not_changed(container: Container, tmp_path: Path) -> None:
    root = places.mlruns(tmp_path)
    bring(container, root)
    one, gone, child = (run_named(container, name) for name in ("one", "failed", "child"))
    tag_run(container, one.id, "note", "mine")
    update_run(container, one.id, name="renamed")
    log(container, one.id, metrics=[Point("loss", 0.01, 1_900_000_000_000, 99)], params={"own": "1"})
    delete_run(container, gone.id)
    (folder,) = root.glob(f"*/{child.id}")
    (folder / "params" / "own").write_text("theirs")
    log(container, child.id, params={"own": "mine"})
    held = snapshot(container)
    summary = bring(container, root)
    assert snapshot(container) == held
    assert summary.runs.same == 6
    assert {(note.subject, note.reason) for note in summary.notes if note.subject.startswith("run ")} == {
        (f"run {child.id}", "parameter own has another value here"),
        (f"run {one.id}", "tag note has another value here"),
        (f"run {one.id}", "tag mlflow.runName has another value here"),
        (f"run {gone.id}", "it is deleted here, and stays so"),
    }


FILE = "it has 11 bytes there and 5 here, where it was not changed"


def test_what_was_changed_in_the_source_since_is_told_and_stays(container: Container, tmp_path: Path) -> None:
    path = places.database(tmp_path)
    bring(container, path)
    held = snapshot(container)
    one, failed = run_named(container, "one"), run_named(container, "failed")
    with sqlite3.connect(path) as theirs:
        theirs.execute("UPDATE tags SET value = 'theirs' WHERE key = 'note'")
        theirs.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE name = 'failed'")
        theirs.execute("UPDATE experiment_tags SET value = 'red' WHERE key = 'team'")
        theirs.execute("UPDATE registered_models SET description = 'new' WHERE name = 'churn'")
        theirs.execute("UPDATE registered_model_tags SET value = 'eve' WHERE key = 'owner'")
        theirs.execute(
            "UPDATE model_versions SET current_stage = 'Archived', description = 'v' WHERE version = 1"
        )
        theirs.execute("UPDATE model_version_tags SET value = 'z' WHERE key = 'x'")
    theirs.close()
    (said,) = path.parent.rglob("hello.txt")
    said.write_text("hello again")
    told = {(note.subject, note.reason) for note in bring(container, path).notes}
    assert told >= {
        (f"run {one.id}", "tag note has another value here"),
        (f"run {failed.id}", "it is deleted in the source, and stays here"),
        ("experiment first", "tag team has another value here"),
        ("model churn", "it has another description here"),
        ("model churn", "tag owner has another value here"),
        ("model churn", "version 1 has another description here"),
        ("model churn", "version 1 is in stage Production here"),
        ("model churn", "version 1: tag x has another value here"),
        (f"file 1/{one.id}/artifacts/notes/hello.txt", FILE),
    }
    assert snapshot(container) == held


def test_a_logged_model_that_was_still_being_made_is_ready_once_the_source_says_so(
    container: Container, tmp_path: Path
) -> None:
    path = places.database(tmp_path)
    for status, expected in ((1, "PENDING"), (2, "READY"), (1, "READY")):
        with sqlite3.connect(path) as theirs:
            theirs.execute("UPDATE logged_models SET status = ?", (status,))
        theirs.close()
        bring(container, path)
        assert {model.status for model in container.store.find(LoggedModel)} == {expected}


def test_another_experiment_of_the_same_number_keeps_its(container: Container, tmp_path: Path) -> None:
    mine = create_experiment(container, "mine")
    assert mine.id == 1
    bring(container, places.database(tmp_path))
    first = experiment_by_name(container, "first")
    assert first is not None
    assert first.id not in (0, 1)
    assert first.artifacts == f"mlflow-artifacts:/{first.id}"
    assert container.store.get(Experiment, 1) == mine
    one = run_named(container, "one")
    assert one.experiment == first.id
    assert download_uri(container, "churn", 3) == f"mlflow-artifacts:/{first.id}/{one.id}/artifacts/notes"
    assert create_experiment(container, "next").id > first.id


def test_an_experiment_that_was_deleted_here_takes_no_runs(container: Container, tmp_path: Path) -> None:
    deleted = create_experiment(container, "first")
    delete_experiment(container, deleted.id)
    summary = bring(container, places.mlruns(tmp_path))
    assert summary.failed == 5  # four runs and a logged model; what was deleted there may come
    assert {run.name for run in container.store.find(Run)} == {"gone", "of old"}
    assert any("is deleted here: restore it" in note.reason for note in summary.notes)


def test_another_run_of_the_same_id(container: Container, tmp_path: Path) -> None:
    there = create_experiment(container, "there")
    create_run(container, there.id, id="abcd1234", name="mine")
    for _ in range(2):
        summary = bring(container, places.wandb(tmp_path))
        assert any("another run has this id" in note.reason for note in summary.notes)
    names = sorted(run.name for run in container.store.find(Run))
    assert names == ["brave", "fails", "long0001", "mine"]
    assert len(run_named(container, "brave").id) == 32


def test_versions_and_aliases_that_are_others_here_stay(container: Container, tmp_path: Path) -> None:
    register(container, "churn")
    create(container, "churn", "s3://bucket/mine")
    set_alias(container, "churn", "best", 1)
    create(container, "churn", "s3://bucket/mine")
    set_alias(container, "churn", "best", 2)
    summary = bring(container, places.database(tmp_path))
    reasons = {note.reason for note in summary.notes if note.subject == "model churn"}
    assert reasons == {
        "it has another description here",
        "version 1 is another one here",
        "alias best points to version 2 here",
    }
    assert (summary.versions.new, summary.models.completed) == (1, 1)
    sources = [version.source for version in container.store.find(ModelVersion, ("model", "=", "churn"))]
    assert sources[:2] == ["s3://bucket/mine", "s3://bucket/mine"]
    assert len(sources) == 3


def test_a_file_that_cannot_be_is_told_and_the_others_come(container: Container, tmp_path: Path) -> None:
    root = places.mlruns(tmp_path)
    (notes,) = root.glob("*/*/artifacts/notes")
    (notes / "a#b.txt").write_text("no")
    (notes / "ü ñ.txt").write_text("yes")
    summary = bring(container, root)
    assert summary.failed == 0
    assert any("a#b.txt" in note.reason for note in summary.notes)
    assert container.store.count(ArtifactFile, ("path", "=", "notes/ü ñ.txt")) == 1
    assert container.store.count(ArtifactFile, ("path", "=", "notes/a#b.txt")) == 0


def test_a_run_whose_points_are_damaged_does_not_come_at_all(container: Container, tmp_path: Path) -> None:
    root = places.mlruns(tmp_path)
    (path,) = root.glob("*/*/metrics/x")
    path.write_text("1700000000000 1.0 0\n" * 10 + "broken\n")
    summary = bring(container, root)
    assert (summary.failed, summary.runs.new) == (1, 5)
    assert container.store.find(Run, ("name", "=", "child")) == []
    path.write_text("1700000000000 1.0 0\n")
    assert bring(container, root).runs.new == 1


@pytest.mark.parametrize("text", ["destination_id: m-1\nstep: abc\n", "- 1\n"])
def test_a_run_that_holds_odd_values_does_not_keep_the_others_from_coming(
    container: Container, tmp_path: Path, text: str
) -> None:
    root = places.mlruns(tmp_path)
    (path,) = root.glob("*/*/metrics/x")
    outputs = path.parent.parent / "outputs" / "m-1"
    outputs.mkdir(parents=True)
    (outputs / "meta.yaml").write_text(text)
    summary = bring(container, root)
    assert (summary.failed, summary.runs.new) == (1, 5)
    assert container.store.find(Run, ("name", "=", "child")) == []


def test_names_that_cannot_be_get_others_and_none_is_lost(container: Container, tmp_path: Path) -> None:
    bring(container, places.tensorboard(tmp_path))
    train = run_named(container, "train")
    keys = {metric.key for metric in run_data(container, [train.id])[train.id].metrics}
    assert keys == {"acc_1", "as_tensor", "loss"}


def test_an_id_that_is_none_is_told(container: Container, tmp_path: Path) -> None:
    path = places.database(tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE runs SET run_uuid = '../../up' WHERE name = 'failed'")
    connection.close()
    summary = bring(container, path)
    assert (summary.failed, summary.runs.new) == (1, 5)
    assert any(note.reason == "'../../up' is no id" for note in summary.notes)


@pytest.mark.parametrize(
    ("name", "library"), [("wandb", "google.protobuf"), ("tensorboard", "google_crc32c")]
)
def test_a_library_that_is_missing_is_named_once(
    container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    messages._classes.cache_clear()
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(NotInstalled, match=r"homeostat\[import\]"):
        bring(container, MAKERS[name](tmp_path))
    assert container.store.find(Run) == []


def test_progress_is_told(container: Container, tmp_path: Path) -> None:
    told: list[Progress] = []
    source = container.source(str(places.mlruns(tmp_path)))
    import_tracking(container, source, tell=told.append)
    assert {one.total for one in told} == {6}
    done = [one.done for one in told]
    assert done == sorted(done)
    assert (told[-1].done, told[-1].next) == (6, "")
    assert any(one.next.startswith("logged model") for one in told)
    one = run_named(container, "one").id
    assert any(f"run {one}: notes/hello.txt" == progress.next for progress in told)
    assert any(f"run {one}: 11 points" == progress.next for progress in told)


def test_a_long_run_comes_in_constant_memory(
    container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_HEAP", 10_000)
    monkeypatch.setattr(staging, "_IN_MEMORY", 1000)
    root = places.mlruns(tmp_path)
    (path,) = root.glob("*/*/metrics/x")
    with path.open("w") as file:
        for step in range(100_000):
            file.write(f"{1_700_000_000_000 + step} {step / 7} {step}\n")
    bring(container, root)
    child = run_named(container, "child")
    blocks = container.store.find(MetricBlock, ("run", "=", child.id))
    assert sum(block.count for block in blocks) == 100_000
    assert max(len(block.payload) for block in blocks) < 1 << 20
    found = shown(container, child.id, "x")
    assert len(found) == 100_000
    assert found[99_999][:2] == (1_700_000_099_999, 99_999)
    assert bring(container, root).points == 0
