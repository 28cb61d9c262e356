"""What is exported is imported elsewhere as it was: runs of any kind, their points, files and models."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from homeostat.adapters.sources.export import MARK, ExportFolder
from homeostat.adapters.sources.exported import Exported
from homeostat.adapters.sql import SqlMetaStore
from homeostat.app.artifacts import content, remove, write
from homeostat.app.container import Container
from homeostat.app.exporting import StoreSource, export
from homeostat.app.importing import Summary, import_tracking
from homeostat.app.logged_models import create_logged_model, finalize_logged_model, tag_logged_model
from homeostat.app.registry.aliases import set_alias
from homeostat.app.registry.directories import export_files, import_directory
from homeostat.app.registry.models import register
from homeostat.app.registry.trees import held
from homeostat.app.registry.versions import create, label
from homeostat.app.settings import Settings
from homeostat.app.tracing.ingest import start_trace
from homeostat.app.tracking import (
    create_experiment,
    create_run,
    delete_run,
    histories,
    history,
    log,
    log_inputs,
    log_outputs,
    run_data,
    tag_experiment,
    update_run,
)
from homeostat.domain.errors import BadRequest, Conflict
from homeostat.domain.records import ModelVersion, Run
from homeostat.domain.traces import Trace
from homeostat.domain.tracking import ArtifactFile, Experiment, MetricBlock, RunInput
from homeostat.engine.tracking.places import path_of, run_root
from homeostat.engine.tracking.points import Point
from homeostat.ports.sources import Columns, SourceRun
from tests.app.importing.snapshot import snapshot

AT = datetime(2024, 5, 6, tzinfo=UTC)
INT64 = 2**63 - 1

names = (
    st.text("abcXYZ019_-./ :üß語", min_size=1, max_size=12)
    .map(lambda text: f"k{text.strip('/. ')}")
    .filter(
        lambda text: (
            "//" not in text and "/./" not in text and "/../" not in text and not text.endswith(("/.", "/.."))
        )
    )
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
times = st.integers(0, 10**12).map(lambda micros: AT + timedelta(microseconds=micros))
points = st.builds(
    Point,
    st.sampled_from(["loss", "val/acc", "a b:c", "ü"]),
    st.floats() | st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308]),
    st.integers(0, INT64) | st.integers(0, 5),
    st.integers(-INT64 - 1, INT64) | st.integers(0, 5),
)
inputs = st.builds(
    RunInput,
    run=st.just(""),
    name=st.sampled_from(["rows", "more rows"]),
    digest=st.text("abc123", min_size=1, max_size=8),
    source_type=st.just("code"),
    source=texts,
    schema=texts,
    profile=texts,
    tags=st.dictionaries(names, texts, max_size=2),
)
parts = st.text("abc .-_ü漢", min_size=1, max_size=6).filter(lambda text: text.strip(" .") == text)
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)
runs = st.fixed_dictionaries(
    {
        "name": texts.filter(bool),
        "state": st.sampled_from(["running", "succeeded", "failed", "cancelled"]),
        "started": times,
        "ended": times,
        "params": st.dictionaries(names, texts, max_size=4),
        "tags": st.dictionaries(names, texts, max_size=4),
        "points": st.lists(points, max_size=30),
        "inputs": st.lists(inputs, max_size=3),
        "files": st.dictionaries(paths, st.binary(max_size=50), max_size=4),
        "deleted": st.booleans(),
        "model": st.booleans(),
    }
)


@contextmanager
def stores(template: Path) -> Iterator[tuple[Container, Container, Path]]:
    """Two empty stores, and a folder for an export."""
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for name in ("here", "there"):
            home = Path(folder) / name
            home.mkdir()
            (home / "homeostat.db").write_bytes(template.read_bytes())
            made.append(Container(Settings(home=home)))
        with made[0], made[1]:
            yield made[0], made[1], Path(folder) / "export"


def fill(container: Container, given: list[dict[str, Any]]) -> None:
    experiment = create_experiment(container, "filled", tags={"a": "b"})
    tag_experiment(container, experiment.id, "c", "d\n")
    for wanted in given:
        run = create_run(
            container, experiment.id, name=wanted["name"], actor="ana", started_at=wanted["started"]
        )
        tags = {key: value for key, value in wanted["tags"].items() if not key.startswith("mlflow.")}
        log(container, run.id, metrics=wanted["points"], params=wanted["params"], tags=tags)
        log_inputs(container, run.id, wanted["inputs"])
        base = path_of(run_root(experiment.artifacts, run.id))
        for path, data in wanted["files"].items():
            with suppress(Conflict):  # a file where a folder is, or the other way round
                write(container, f"{base}/{path}", data)
        if wanted["model"]:
            made = create_logged_model(
                container, experiment.id, name="model", run=run.id, params=[("p", "1")]
            )
            write(container, f"{path_of(made.artifacts)}/MLmodel", b"flavors: {}")
            tag_logged_model(container, made.id, {"t": "1"})
            finalize_logged_model(container, made.id, "READY")
            log_outputs(container, run.id, {made.id: 3})
            about = [Point("on", value, 5, 1, model=made.id) for value in (math.inf,)]
            log(container, run.id, metrics=about)
        ended = wanted["ended"] if wanted["state"] != "running" else None
        update_run(container, run.id, state=wanted["state"], ended_at=ended)
        if wanted["deleted"]:
            delete_run(container, run.id)


def moved(here: Container, there: Container, folder: Path) -> tuple[Summary, Summary]:
    written = export(StoreSource(here, deleted=True), here.sink(folder))
    return written, import_tracking(there, there.source(str(folder)))


EXTREME: list[dict[str, Any]] = [
    {
        "name": "all of it",
        "state": "failed",
        "started": AT,
        "ended": AT + timedelta(microseconds=1),
        "params": {"a/b.c d:e": "", "k": "ü\n\t\u2028"},
        "tags": {"t": "x" * 5000},
        "points": [
            Point("loss", value, at, step)
            for value in (math.nan, math.inf, -math.inf, -0.0, 5e-324)
            for at in (0, INT64)
            for step in (-INT64 - 1, INT64)
        ],
        "inputs": [],
        "files": {"a": b"", "b/c d/ü.bin": bytes(range(256))},
        "deleted": True,
        "model": True,
    }
]


@pytest.fixture(scope="module")
def template(sqlite_template: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an empty store; as a path, for what fails shows its arguments."""
    path = tmp_path_factory.mktemp("template") / "empty.db"
    path.write_bytes(sqlite_template)
    return path


@settings(max_examples=15, deadline=None)
@given(st.lists(runs, min_size=1, max_size=3))
@example(EXTREME)
def test_runs_arrive_as_they_were(template: Path, given: list[dict[str, Any]]) -> None:
    with stores(template) as (here, there, folder):
        fill(here, given)
        written, brought = moved(here, there, folder)
        assert snapshot(there) == snapshot(here)
        assert (written.failed, brought.failed, brought.notes) == (0, 0, [])
        assert (written.runs, written.points, written.files) == (brought.runs, brought.points, brought.files)
        head = there.ledger.head()
        assert moved(here, there, folder)[1].points == 0
        assert there.ledger.head() == head


@pytest.fixture
def here(tmp_path: Path, store_url: str) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "here", store=store_url)) as container:
        yield container


@pytest.fixture
def there(tmp_path: Path, sqlite_template: bytes) -> Iterator[Container]:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "homeostat.db").write_bytes(sqlite_template)
    with Container(Settings(home=tmp_path / "there")) as container:
        yield container


def test_between_databases_with_the_registry(here: Container, there: Container, tmp_path: Path) -> None:
    fill(here, EXTREME)
    (run,) = here.store.find(Run)
    (model,) = run_data(here, [run.id])[run.id].models
    register(here, "a model ü@%", description="what it is", tags={"a": "b"})
    create(here, "a model ü@%", f"models:/{model.model}", logged_model=model.model, tags={"v": "1"})
    create(here, "a model ü@%", f"runs:/{run.id}/b", run=run.id)
    label(here, "a model ü@%", 2, "Production")
    set_alias(here, "a model ü@%", "best", 1)
    register(here, "x" * 250)
    moved(here, there, tmp_path / "export")
    assert snapshot(there) == snapshot(here)


def test_traces_that_stay_are_told(here: Container, tmp_path: Path) -> None:
    owner = create_experiment(here, "traced")
    for id in ("tr-1", "tr-2"):
        trace = Trace(id=id, experiment=owner.id, state="OK", began_at=datetime(2026, 1, 1, tzinfo=UTC))
        start_trace(here, trace, tags={}, metadata={})
    told = export(StoreSource(here), here.sink(tmp_path / "export")).notes
    assert [(note.subject, note.reason) for note in told] == [
        ("experiment traced", "its traces, 2 of them, are not exported")
    ]


def test_a_part_by_run_and_by_experiment(here: Container, there: Container, tmp_path: Path) -> None:
    fill(here, EXTREME)
    other = create_experiment(here, "other")
    wanted = create_run(here, other.id, name="wanted")
    create_run(here, other.id, name="not wanted")
    export(StoreSource(here, runs=[wanted.id]), here.sink(tmp_path / "one"))
    assert import_tracking(there, there.source(str(tmp_path / "one"))).runs.new == 1
    assert [run.name for run in there.store.find(Run)] == ["wanted"]
    assert [found.name for found in there.store.find(Experiment)] == ["Default", "other"]
    told = export(StoreSource(here, experiments=[other.id]), here.sink(tmp_path / "two"))
    assert (told.experiments.new, told.runs.new, told.logged_models.new) == (1, 2, 0)


def test_deleted_runs_stay_unless_asked_for(here: Container, tmp_path: Path) -> None:
    fill(here, EXTREME)
    assert export(StoreSource(here), here.sink(tmp_path / "alive")).runs.new == 0
    assert export(StoreSource(here, deleted=True), here.sink(tmp_path / "all")).runs.new == 1


def test_trainings_arrive_but_are_not_begun_anew(here: Container, there: Container, tmp_path: Path) -> None:
    common = {
        "kind": "train",
        "model": "delay",
        "created_at": AT,
        "started_at": AT,
        "inputs": ["dataset/rows@3"],
    }
    ended = Run(
        id="01J00000000000000000000001", state="succeeded", ended_at=AT, metrics={"auc": 0.5}, **common
    )
    waiting = Run(id="01J00000000000000000000002", state="queued", **common)
    with here.store.begin() as tx:
        tx.insert(ended, waiting)
    create_experiment(here, "any")
    _, brought = moved(here, there, tmp_path / "export")
    assert there.store.find(Run) == [ended]
    assert [note.reason for note in brought.notes] == [
        "it is a training that has not ended, which only its own server can end"
    ]


def test_versions_that_the_loop_made_stay(here: Container, there: Container, tmp_path: Path) -> None:
    register(here, "delay")
    with here.store.begin() as tx:
        tx.insert(
            ModelVersion(
                model="delay",
                version=1,
                run="r",
                stage="champion",
                manifest={"files": {}},
                created_at=AT,
                updated_at=AT,
            )
        )
    written, _ = moved(here, there, tmp_path / "export")
    assert [note.reason for note in written.notes] == ["version 1 was trained here, and stays"]
    assert there.store.find(ModelVersion) == []


def test_an_export_that_was_killed_has_no_half_runs(
    here: Container, there: Container, tmp_path: Path
) -> None:
    fill(here, EXTREME)
    sink = here.sink(tmp_path / "export")
    export(StoreSource(here, deleted=True), sink)
    (folder,) = (tmp_path / "export" / "runs").iterdir()
    folder.rename(folder.with_name(f".{folder.name}"))  # as it is until it is whole
    assert import_tracking(there, there.source(str(tmp_path / "export"))).runs.new == 0
    moved(here, there, tmp_path / "export")
    assert snapshot(there) == snapshot(here)
    assert [path.name for path in (tmp_path / "export" / "runs").iterdir()] == [folder.name]


def test_an_export_is_brought_up_to_date(here: Container, there: Container, tmp_path: Path) -> None:
    experiment = create_experiment(here, "any")
    run = create_run(here, experiment.id, name="grows")
    moved(here, there, tmp_path / "export")
    log(here, run.id, metrics=[Point("late", 1.0, 5)], params={"p": "1"})
    write(here, f"{experiment.id}/{run.id}/artifacts/late.txt", b"late")
    update_run(here, run.id, state="succeeded")
    _, brought = moved(here, there, tmp_path / "export")
    assert (brought.runs.completed, brought.points, brought.files) == (1, 1, 1)
    assert snapshot(there) == snapshot(here)


def test_a_folder_of_something_else_is_left_alone(here: Container, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "text").write_text("mine")
    with pytest.raises(BadRequest, match="is no export"):
        here.sink(tmp_path / "mine")
    with pytest.raises(BadRequest, match="is no export"):
        here.sink(tmp_path / "mine" / "text")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["text"]


@pytest.mark.parametrize("name", ["run.json", "points-000000.parquet", MARK])
@pytest.mark.parametrize("cut", [0, 10, -5])
def test_a_damaged_export_is_told(
    here: Container, there: Container, tmp_path: Path, name: str, cut: int
) -> None:
    fill(here, EXTREME)
    export(StoreSource(here, deleted=True), here.sink(tmp_path / "export"))
    path = next((tmp_path / "export").rglob(name))
    path.write_bytes(path.read_bytes()[:cut])
    if name == MARK:
        with pytest.raises(BadRequest, match="cannot be read"):
            there.source(str(tmp_path / "export"))
        return
    brought = import_tracking(there, there.source(str(tmp_path / "export")))
    assert brought.failed == 1
    assert there.store.find(Run) == []
    assert any(name in note.reason for note in brought.notes)


def test_an_export_of_a_newer_homeostat(here: Container, tmp_path: Path) -> None:
    (tmp_path / MARK).write_bytes(msgspec.json.encode({"form": 2}))
    with pytest.raises(BadRequest, match="has form 2, and this Homeostat knows 1"):
        here.source(str(tmp_path))


def test_files_larger_than_a_chunk(
    here: Container, there: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeostat.app.artifacts.CHUNK", 1000)
    experiment = create_experiment(here, "any")
    run = create_run(here, experiment.id)
    data = bytes(range(256)) * 20
    write(here, f"{experiment.id}/{run.id}/artifacts/large.bin", data)
    moved(here, there, tmp_path / "export")
    (file,) = there.store.find(ArtifactFile)
    assert len(file.chunks) == 6
    assert b"".join(content(there, file)) == data


def test_model_directories_arrive_whole(
    here: Container, there: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeostat.app.artifacts.CHUNK", 1000)
    files = {"MLmodel": b"flavors: {x: {}}\n", "model.pkl": bytes(range(256)) * 20, "data/": b""}
    made = import_directory(here, "m", held(files))
    broken = import_directory(here, "broken", held(files | {"more": b"1"}))
    folder = path_of(broken.source)
    remove(here, f"{folder}/more")
    _, brought = moved(here, there, tmp_path / "export")
    assert export_files(there, "m", "1") == files
    assert there.store.get(ModelVersion, "m", 1) == made
    assert there.blobs.exists(made.manifest["files"]["data/"])
    found = there.store.get(ModelVersion, "broken", 1)
    assert found is not None
    assert (found.digest, found.manifest) == ("", {})
    assert sorted(export_files(there, "broken", "1")) == ["MLmodel", "model.pkl"]
    assert [note.reason for note in brought.notes] == [
        "the package of version 1 did not come whole: what came are files"
    ]


def test_metrics_that_share_blocks_are_read_together(
    here: Container, there: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(here, 0).id
    for step in range(20):
        log(here, run, metrics=[Point(f"m{number:03}", float(step), step, step) for number in range(150)])
    blocks = here.store.count(MetricBlock)
    read: list[int] = []
    plain = SqlMetaStore.find

    def counted(self: SqlMetaStore, kind: Any, *where: Any, **more: Any) -> Any:
        found = plain(self, kind, *where, **more)
        read.append(len(found) if kind is MetricBlock else 0)
        return found

    monkeypatch.setattr(SqlMetaStore, "find", counted)
    moved(here, there, tmp_path / "export")
    assert sum(read) == 2 * blocks
    read.clear()
    brought = import_tracking(there, there.source(str(tmp_path / "export")))
    assert (brought.points, sum(read)) == (0, 2 * there.store.count(MetricBlock))
    monkeypatch.undo()
    assert snapshot(there) == snapshot(here)


@pytest.mark.parametrize("most", [1, 40, 1000])
def test_histories_are_those_of_each_metric(here: Container, most: int) -> None:
    run = create_run(here, 0).id
    for step in range(5):
        shared = [Point(f"m{number}", float(step), step // 2, step // 2) for number in range(9)]
        log(here, run, metrics=[*shared, Point("long", float(step), step), Point("nan", math.nan, 1)])
    names = [*(f"m{number}" for number in range(1, 9)), "long", "nan", "none"]
    parts = list(histories(here, run, names, most))
    assert [name for some, _ in parts for name in some] == sorted(names)
    assert (len(parts) == 1) == (most == 1000)
    for some, found in parts:
        for name, one in zip(some, found, strict=True):
            for column, wanted in zip(one, history(here, run, name), strict=True):
                np.testing.assert_array_equal(column, wanted)


def test_more_metrics_than_can_be_numbered_at_once(tmp_path: Path) -> None:
    def columns(first: int) -> Columns:
        number = np.arange(40_000)
        names = [f"k{first + place}" for place in range(40_000)]
        return Columns(names, number.astype(np.uint16), number * 1.0, number, number)

    def given() -> Iterator[Columns]:
        yield from (columns(0), columns(40_000))

    about = Run(id="ab12", kind="run", state="succeeded", created_at=AT)
    sink = ExportFolder(tmp_path)
    sink.run(SourceRun(run=about, experiment="0", points=given))
    folder = tmp_path / "runs" / "ab12"
    parts = sorted(folder.glob("points-*.parquet"))
    assert len(parts) == 2
    for old in (False, True):
        if old:  # as they were written once: all in one
            pl.concat([pl.read_parquet(part) for part in parts]).write_parquet(parts[0])
            parts[1].unlink()
        (item,) = Exported(tmp_path).runs()
        read = {
            (part.keys[key], value)
            for part in item.load().points()
            for key, value in zip(part.key.tolist(), part.value.tolist(), strict=True)
        }
        assert read == {(f"k{number}", number % 40_000) for number in range(80_000)}
