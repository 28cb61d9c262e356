"""Applying a project: what it takes in from files, and that it is done whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.projects import load_project
from homeostat.app.reading import read
from homeostat.app.settings import Settings
from homeostat.domain.errors import Conflict

PROJECT = """
import homeostat as hs

things = hs.Dataset("things", key="id", path="things.csv")
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
        file.write_text("id,size\n1,10\n2,20\n")
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(pl, "read_csv", overtaken)
        with pytest.raises(Conflict, match=r"things\.csv was written to"):
            apply(container, load_project(folder))
    assert read(container, "things").collect().is_empty()
    apply(container, load_project(folder))
    assert sizes(container) == [10, 20]


def test_a_file_whose_contents_are_known_is_not_parsed(
    container: Container, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(container, load_project(folder))

    def never(*given: Any, **more: Any) -> pl.DataFrame:
        raise AssertionError("parsed again")

    monkeypatch.setattr(pl, "read_csv", never)
    apply(container, load_project(folder))
    assert sizes(container) == [10]
