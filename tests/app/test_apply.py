"""Applying a project: what it takes in from files, and that it is done whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from homeostat.app.apply import apply, plan
from homeostat.app.code import declared
from homeostat.app.container import Container
from homeostat.app.online import live_views
from homeostat.app.projects import load_project
from homeostat.app.reading import read
from homeostat.app.settings import Settings
from homeostat.domain import records
from homeostat.domain.errors import Conflict, DeclarationError, NotFound

PROJECT = """
import homeostat as hs

things = hs.Dataset("things", key="id", path="things.csv")
"""


VIEWS = """
import logging
import threading
from datetime import datetime
import polars as pl
import helpers

log = logging.getLogger(__name__)
LOADED = datetime.now()
LOCK = threading.Lock()
SEEN = {}

@hs.feature_view(entity=hs.Entity("id"), source=things)
def large(frame):
    with LOCK:
        SEEN[len(SEEN)] = LOADED
        log.info("seen %d", len(SEEN))
    return frame.select(size=helpers.scaled(pl.col("size")))

@hs.on_request
def shape(frame):
    return frame.select(large=pl.col("size") > 5)
"""

HELPERS = """
SEEN = {}

def scaled(size):
    SEEN[len(SEEN)] = size
    return size * 2
"""

MODEL = """
def train(data):
    raise RuntimeError("not in this test")

sold = hs.Model(
    "sold",
    task=hs.Binary(label="sold", source=things),
    train=train,
    retrain=hs.when(hs.drift(of=["weight"])),
)
"""


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home")) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "project.py").write_text(PROJECT)
    (folder / "things.csv").write_text("id,size\n1,10\n")
    return folder


def sizes(container: Container) -> list[int]:
    return read(container, "things").collect()["size"].sort().to_list()


def test_a_file_that_is_written_to_while_it_is_read_is_taken_in_once_it_is_whole(
    container: Container, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "things.csv"
    read_csv = pl.read_csv

    def overtaken(*given: Any, **more: Any) -> pl.DataFrame:
        rows = read_csv(*given, **more)
        if more["n_rows"] is not None:  # a look at its columns
            return rows
        file.write_text("id,size\n1,10\n2,20\n")
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(pl, "read_csv", overtaken)
        with pytest.raises(Conflict, match=r"things\.csv was written to"):
            apply(container, load_project(folder))
    assert read(container, "things").collect().is_empty()
    apply(container, load_project(folder))
    assert sizes(container) == [10, 20]


def test_a_model_that_its_file_cannot_feed_is_refused_before_anything_changes(
    container: Container, folder: Path
) -> None:
    (folder / "project.py").write_text(PROJECT + MODEL)
    for do in (plan, apply):
        with pytest.raises(DeclarationError, match="weight"):
            do(container, load_project(folder))
    assert container.store.find(records.Project) == container.store.find(records.Dataset) == []
    pl.DataFrame({"id": [1], "size": [10], "weight": [0.5], "sold": [True]}).write_parquet(
        folder / "things.parquet"
    )
    (folder / "project.py").write_text((PROJECT + MODEL).replace("things.csv", "things.parquet"))
    assert {change.action for change in plan(container, load_project(folder))} == {"create"}
    apply(container, load_project(folder))
    assert sizes(container) == [10]


def test_a_file_that_is_not_there_is_missed_before_anything_changes(
    container: Container, folder: Path
) -> None:
    (folder / "things.csv").unlink()
    for do in (plan, apply):
        with pytest.raises(NotFound, match=r"things\.csv, which is not there"):
            do(container, load_project(folder))
    assert container.store.find(records.Project) == container.store.find(records.Dataset) == []


def test_a_file_whose_contents_are_known_is_not_parsed(
    container: Container, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(container, load_project(folder))

    def never(*given: Any, **more: Any) -> pl.DataFrame:
        raise AssertionError("parsed again")

    monkeypatch.setattr(pl, "read_csv", never)
    apply(container, load_project(folder))
    assert sizes(container) == [10]


def test_a_view_that_remembers_and_logs_is_what_it_was_in_every_folder_and_whatever_has_run(
    container: Container, folder: Path
) -> None:
    (folder / "project.py").write_text(PROJECT + VIEWS)
    (folder / "helpers.py").write_text(HELPERS)
    apply(container, load_project(folder))
    first = load_project(folder)
    views = {name: view.digest for name, view in first.views.items()}
    for _ in range(3):
        first.views["large"].transform(pl.LazyFrame({"size": [1]})).collect()  # type: ignore[attr-defined]
    assert {change.action for change in plan(container, first)} == {"keep"}
    assert {change.action for change in apply(container, first)} == {"keep"}
    kept = declared(container).views
    assert {name: view.digest for name, view in kept.items()} == views
    (asked,) = live_views(container)
    assert container.online.position(asked) == 1
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)
    assert {name: view.digest for name, view in load_project(copy).views.items()} == views


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("helpers.py", "size * 2", "size * 3"),
        ("project.py", "SEEN = {}", "SEEN = {0: 0}"),
        ("project.py", 'key="id"', 'key="id", time="at"'),
    ],
)
def test_what_a_view_uses_makes_it_another_and_leaves_the_rest(
    container: Container, folder: Path, file: str, before: str, after: str
) -> None:
    (folder / "project.py").write_text(PROJECT + VIEWS)
    (folder / "helpers.py").write_text(HELPERS)
    (folder / "things.csv").write_text("id,size,at\n1,10,2026-01-01T00:00:00Z\n")
    apply(container, load_project(folder))
    (folder / file).write_text((folder / file).read_text().replace(before, after))
    changed = {change.ref for change in plan(container, load_project(folder)) if change.action != "keep"}
    assert changed - {"dataset/things"} == {"feature-view/large"}
