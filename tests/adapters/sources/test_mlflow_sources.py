"""MLflow's folder and its database: the same things in both, as MLflow made them."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, MetaData, Table, create_engine
from sqlalchemy.engine import make_url

from homeostat.adapters.sources import open_source
from homeostat.adapters.sources.mlflow_database import MlflowDatabase
from homeostat.domain.errors import BadRequest, HomeostatError, StoreUnavailable
from homeostat.ports.sources import Missing, Source
from tests.adapters.sources.places import database, files, mlruns, points, runs
from tests.conftest import Databases


@pytest.fixture(params=["folder", "sqlite", "postgresql"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
    if request.param == "folder":
        place = str(mlruns(tmp_path))
    elif request.param == "sqlite":
        place = str(database(tmp_path))
    else:
        place = request.getfixturevalue("in_postgres")
    opened = open_source(place)
    yield opened
    opened.close()


@pytest.fixture
def in_postgres(databases: Databases, tmp_path: Path) -> Iterator[str]:
    """MLflow's database, in PostgreSQL."""
    url = databases.make()
    copied(database(tmp_path), url)
    yield url
    databases.drop(url)


def copied(path: Path, url: str) -> None:
    """The tables of a SQLite file in a PostgreSQL database, without constraints."""
    origin = create_engine(f"sqlite:///{path}")
    target = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    found, made = MetaData(), MetaData()
    found.reflect(origin)
    with origin.connect() as reading, target.begin() as writing:
        for table in found.sorted_tables:
            kinds = {
                column.name: Boolean() if column.name == "is_nan" else column.type.as_generic()
                for column in table.columns
            }
            copy = Table(table.name, made, *(Column(name, kind) for name, kind in kinds.items()))
            copy.create(writing)
            rows = [dict(row) for row in reading.execute(table.select()).mappings()]
            writing.execute(copy.insert(), [row | flags(row) for row in rows])
    origin.dispose()
    target.dispose()


def flags(row: dict[str, Any]) -> dict[str, Any]:
    return {"is_nan": bool(row["is_nan"])} if "is_nan" in row else {}


def test_experiments_with_tags_and_what_was_deleted(source: Source) -> None:
    found = {item.load().name: item.load() for item in source.experiments()}
    assert found.keys() == {"Default", "first", "old"}
    assert found["first"].tags == {"team": "blue", "empty": ""}
    assert str(found["first"].id) == found["first"].key
    assert found["first"].created_at is not None
    assert found["first"].deleted_at is None
    assert found["old"].deleted_at is not None
    assert found["first"].artifacts == ""  # the files come along


def test_runs_in_every_state(source: Source) -> None:
    found = runs(source)
    assert source.count() == len(found) == 6
    states = {name: run.run.state for name, run in found.items()}
    assert states == {
        "one": "succeeded",
        "child": "succeeded",
        "failed": "failed",
        "gone": "running",
        "going": "running",
        "of old": "running",
    }
    assert {name for name, run in found.items() if run.run.deleted_at} == {"gone", "of old"}
    one = found["one"].run
    assert one.started_at is not None
    assert one.ended_at is not None
    assert one.started_at < one.ended_at
    assert one.actor == "ana"
    assert len(one.id) == 32


def test_params_tags_and_inputs(source: Source) -> None:
    one = runs(source)["one"]
    assert one.params == {"lr": "0.1", "nested/name": "x", "long": "y" * 600}
    assert one.tags["note"] == "a\nb ü"
    assert one.tags["mlflow.runName"] == "one"
    (read,) = one.inputs
    assert (read.name, read.source_type) == ("rows", "code")
    assert read.tags == {"k": "v", "mlflow.data.context": "training"}
    assert "features_shape" in read.profile
    assert "tensorspec" in read.schema
    assert [(model.role, model.model[:2]) for model in one.models] == [("output", "m-")]


def test_every_point_also_those_that_are_no_numbers(source: Source) -> None:
    found = points(runs(source)["one"])
    assert sorted(found) == ["loss", "on_model", "val/acc", "val/inf", "val/ninf"]
    # The folder has one of them twice: MLflow writes a line more when it ties a metric to a model.
    assert {(value, step) for value, _, step in found["loss"]} == {(1 / (n + 1), n) for n in range(10)}
    assert all(at > 1_600_000_000_000 for _, at, _ in found["loss"])
    assert [found[key][0][0] for key in ("val/acc", "val/inf", "val/ninf")] == ["NaN", math.inf, -math.inf]


def test_files_of_runs_and_models(source: Source) -> None:
    assert files(runs(source)["one"]) == {"notes/hello.txt": b"hello"}
    (item,) = source.logged_models()
    model = item.load()
    assert [file.path for file in model.files()] == [
        "MLmodel",
        "conda.yaml",
        "model.skops",
        "python_env.yaml",
        "requirements.txt",
    ]
    assert (model.model.status, model.model.name) == ("READY", "model")
    assert model.params["lr"] == "0.1"
    assert model.tags["mlflow.modelVersions"] == '[{"name": "churn", "version": 1}]'
    assert {(m.key, m.dataset, m.value) for m in model.metrics} == {
        ("loss", "", 1.0),
        ("on_model", "rows", 0.5),
    }


def test_registered_models_with_versions_and_aliases(source: Source) -> None:
    found = {item.load().model.name: item.load() for item in source.models()}
    assert found["empty"].tags == {"a": "b"}
    assert found["empty"].model.description == "none yet"
    churn = found["churn"]
    assert churn.aliases == {"best": 1}
    assert churn.tags == {"owner": "ana"}
    assert churn.model.versions == 3  # the second was deleted, and its number is not given again
    assert [version.version.version for version in churn.versions] == [1, 3]
    first = churn.versions[0]
    assert first.tags == {"x": "y"}
    assert first.version.label == "Production"
    assert first.version.source.startswith("models:/m-")
    assert churn.versions[1].version.source.endswith("/artifacts/notes")


def test_what_stays_is_told(source: Source) -> None:
    assert any("its traces, 1 of them" in reason for _, reason in source.missing())


def test_a_damaged_run_is_told_and_the_others_come(tmp_path: Path) -> None:
    root = mlruns(tmp_path)
    source = open_source(str(root))
    ids = {name: run.run.id for name, run in runs(source).items()}
    folders = {name: next(root.glob(f"**/{id}")) for name, id in ids.items()}
    (folders["failed"] / "meta.yaml").write_text("status: [")
    (folders["going"] / "meta.yaml").unlink()
    (folders["child"] / "metrics" / "x").write_text("1 2 three\n")
    (folders["one"] / "tags" / "note").write_bytes(b"\xff\xfe")
    told = {}
    for item in source.runs():
        try:
            points(item.load())
        except BadRequest as error:
            told[item.name.removeprefix("run ")] = error.message
    assert told.keys() == {ids[name] for name in ("failed", "going", "child", "one")}
    assert "it is no YAML" in told[ids["failed"]]
    assert "meta.yaml cannot be read" in told[ids["going"]]
    assert "line 1 is no point: '1 2 three'" in told[ids["child"]]
    assert "it is no UTF-8" in told[ids["one"]]


def test_a_folder_that_a_database_shares(tmp_path: Path) -> None:
    root = mlruns(tmp_path)
    before = runs(open_source(str(root)))
    for path in ("1/0123456789abcdef/artifacts/model.txt", "1/models/m-1/artifacts/MLmodel"):
        (root / path).parent.mkdir(parents=True)
        (root / path).write_text("")
    alone = tmp_path / "alone"
    shutil.copytree(root / "1", alone / "1")
    with pytest.raises(BadRequest) as refused:
        open_source(str(alone))
    assert "name that one, as in sqlite:///mlflow.db" in str(refused.value.remedy)
    database(tmp_path / "other").rename(tmp_path / "mlflow.db")
    source = open_source(str(tmp_path))
    assert runs(source).keys() == before.keys()
    assert "1" not in {item.load().key for item in source.experiments()}
    assert [item for item in source.logged_models() if "m-1" in item.name] == []
    told = {subject: reason for subject, reason in source.missing() if "traces" not in reason}
    assert told == {
        str(tmp_path / "mlflow.db"): "it is not read: import it by itself, it may know of other runs",
        "folder 1": "it has files alone, of runs that a database knows: import that database",
    }


def test_a_point_that_is_cut_off_is_told_and_the_others_come(tmp_path: Path) -> None:
    root = mlruns(tmp_path)
    (path,) = root.glob("*/*/metrics/x")
    whole = path.read_text()
    before = points(runs(open_source(str(root)))["child"])
    for torn in ("17000", "1700000000000 1", "1700000000000 1.5", "1700000000000 1.5 1"):
        path.write_text(f"{whole}{torn}")
        run = runs(open_source(str(root)))["child"]
        assert points(run) == before
        assert run.missing == [
            Missing(f"run {run.run.id}", "the last point of metric x is cut off in its file")
        ]


def test_points_of_the_oldest_form_have_step_0(tmp_path: Path) -> None:
    root = mlruns(tmp_path)
    (path,) = root.glob("*/*/metrics/x")
    path.write_text("1700000000000 1.5\n")
    assert points(runs(open_source(str(root)))["child"]) == {"x": [(1.5, 1_700_000_000_000, 0)]}


def test_links_that_lead_out_are_followed_only_on_request(tmp_path: Path) -> None:
    root = mlruns(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("mine")
    (path,) = root.glob("*/*/artifacts/notes")
    (path / "link.txt").symlink_to(secret)
    run = runs(open_source(str(root)))["one"]
    assert files(run) == {"notes/hello.txt": b"hello"}
    assert run.missing == [
        Missing(
            str(path.resolve() / "link.txt"), "it is a link that leads out of its folder: --links follows it"
        )
    ]
    followed = runs(open_source(str(root), links=True))["one"]
    assert files(followed) == {"notes/hello.txt": b"hello", "notes/link.txt": b"mine"}


def test_files_of_a_database_that_was_moved(tmp_path: Path) -> None:
    path = database(tmp_path / "there")
    moved = tmp_path / "here"
    moved.mkdir()
    shutil.move(path, moved / "mlflow.db")
    shutil.move(path.parent / "mlruns", moved / "files")
    lost = open_source(str(moved / "mlflow.db"))
    assert files(runs(lost)["one"]) == {}
    assert any(
        subject == "experiment 1" and "not on this machine: say where with --files" in reason
        for subject, reason in lost.missing()
    )
    lost.close()
    found = open_source(str(moved / "mlflow.db"), files=moved / "files")
    assert files(runs(found)["one"]) == {"notes/hello.txt": b"hello"}
    found.close()


def served(path: Path, uri: Callable[[str], str]) -> None:
    import sqlite3

    with sqlite3.connect(path) as connection:
        for table, column, key in (
            ("experiments", "artifact_location", "experiment_id"),
            ("runs", "artifact_uri", "run_uuid"),
        ):
            for id, old in connection.execute(f"SELECT {key}, {column} FROM {table}").fetchall():
                changed = uri(old.partition("/mlruns/")[2])
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (changed, id))
    connection.close()


def test_files_that_a_server_kept(tmp_path: Path) -> None:
    path = database(tmp_path)
    served(path, lambda inner: f"mlflow-artifacts:/{inner}")
    unknown = open_source(str(path))
    assert files(runs(unknown)["one"]) == {}
    assert any("say where with --files" in reason for _, reason in unknown.missing())
    unknown.close()
    known = open_source(str(path), files=tmp_path / "mlruns")
    assert files(runs(known)["one"]) == {"notes/hello.txt": b"hello"}
    known.close()


def test_files_that_clients_find_by_themselves_stay(tmp_path: Path) -> None:
    path = database(tmp_path)
    served(path, lambda inner: f"s3://bucket/{inner}")
    source = open_source(str(path))
    first = next(item.load() for item in source.experiments() if item.load().name == "first")
    assert first.artifacts == "s3://bucket/1"
    one = runs(source)["one"]
    assert files(one) == {}
    assert one.missing == []
    source.close()


@pytest.mark.parametrize("missing", ["workspace", "is_nan", "step", "deleted_time", "creation_time"])
def test_databases_of_older_versions(tmp_path: Path, missing: str) -> None:
    import sqlite3

    path = database(tmp_path)
    with sqlite3.connect(path) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for name in tables:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
            if missing in columns:
                kept = ", ".join(column for column in columns if column != missing)
                connection.execute(f"CREATE TABLE older AS SELECT {kept} FROM {name}")
                connection.execute(f"DROP TABLE {name}")
                connection.execute(f"ALTER TABLE older RENAME TO {name}")
        for name in ("logged_models", "logged_model_metrics", "logged_model_params", "logged_model_tags"):
            connection.execute(f"DROP TABLE {name}")
    connection.close()
    source = open_source(str(path))
    assert len(runs(source)) == 6
    assert len(points(runs(source)["one"])["loss"]) == 10
    assert [item.load().name for item in source.experiments()] == ["Default", "first", "old"]
    assert len([item.load() for item in source.models()]) == 2
    assert list(source.logged_models()) == []
    source.close()


def test_places_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    for place in ("empty", "text", "nowhere"):
        with pytest.raises(BadRequest):
            open_source(str(tmp_path / place))
    for form, kind in (
        ("wandb", "W&B"),
        ("tensorboard", "TensorBoard"),
        ("neptune", "Neptune"),
        ("mlflow", "MLflow"),
    ):
        with pytest.raises(BadRequest, match=f"nothing in .*empty is of the kind {kind}"):
            open_source(str(tmp_path / "empty"), form=form)
    (tmp_path / "empty" / "homeostat.db").touch()
    with pytest.raises(BadRequest) as refused:
        open_source(str(tmp_path / "empty"))
    assert "homeostat export" in refused.value.remedy
    with pytest.raises(BadRequest, match="there is no file"):
        open_source(f"sqlite:///{tmp_path}/nowhere.db")
    assert not (tmp_path / "nowhere.db").exists()
    with pytest.raises(BadRequest, match="is no MLflow database"):
        MlflowDatabase(make_url(f"sqlite:///{empty_database(tmp_path)}"))
    with pytest.raises(BadRequest, match="holds a password"):
        open_source("postgresql://ana:secret@localhost/mlflow")
    with pytest.raises(BadRequest, match="places of mysql are not read"):
        open_source("mysql://localhost/mlflow")
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        open_source("postgresql://nobody@127.0.0.1:1/mlflow")


def empty_database(folder: Path) -> Path:
    import sqlite3

    path = folder / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE something (x)")
    connection.close()
    return path


def test_a_database_is_never_changed(tmp_path: Path) -> None:
    path = database(tmp_path)
    before = path.read_bytes()
    source = open_source(str(path))
    for item in source.runs():
        points(item.load())
    source.close()
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir() if found.name.startswith("mlflow.db")] == ["mlflow.db"]


def test_a_file_that_goes_away_is_an_error_of_its_run(tmp_path: Path) -> None:
    root = mlruns(tmp_path)
    run = runs(open_source(str(root)))["one"]
    (file,) = run.files()
    (next(root.glob("*/*/artifacts/notes/hello.txt"))).unlink()
    with pytest.raises(HomeostatError, match="No such file"):
        list(file.read())


@pytest.mark.parametrize("inner", ["metrics", "params", "tags"])
def test_what_cannot_be_read_of_a_run_is_an_error_of_it(tmp_path: Path, inner: str) -> None:
    root = mlruns(tmp_path)
    (folder,) = (path for path in root.glob(f"*/*/{inner}") if (path.parent / "metrics" / "x").exists())
    (folder / "gone").symlink_to(folder / "nowhere")
    told = []
    for item in open_source(str(root)).runs():
        try:
            points(item.load())
        except BadRequest as error:
            told.append(error.message)
    assert told == [f"{folder / 'gone'} cannot be read: it is a link to nothing"]
