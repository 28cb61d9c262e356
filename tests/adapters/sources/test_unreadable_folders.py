"""Folders that cannot be read, in places where whatever has a name that fits is a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeostat.adapters.sources import open_source
from homeostat.domain.errors import BadRequest
from homeostat.ports.sources import Missing
from tests.adapters.sources.places import mlruns, tensorboard, wandb
from tests.adapters.sources.test_neptune_source import row, write


@pytest.mark.parametrize("form", ["wandb", "tensorboard", "neptune"])
def test_a_folder_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    place = {"wandb": wandb, "tensorboard": tensorboard, "neptune": neptune}[form](tmp_path)
    closed, known, scandir = place / "closed", open_source(str(place)).count(), os.scandir
    closed.mkdir()

    def refuse(path: str) -> Any:
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(closed))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    source = open_source(str(place), form=form)
    assert source.count() == known
    assert list(source.missing()) == [Missing(str(closed), "it cannot be read: Permission denied")]


def test_an_experiment_that_cannot_be_listed_does_not_keep_the_others_from_coming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = mlruns(tmp_path)
    (closed,) = (path.parent for path in root.glob("*/meta.yaml") if "name: first" in path.read_text())
    iterdir = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path == closed:
            raise PermissionError(13, "Permission denied", str(closed))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    source = open_source(str(root))
    assert source.count() == 1
    assert [item.load().run.name for item in source.runs()] == ["of old"]
    told = []
    for item in source.experiments():
        try:
            item.load()
        except BadRequest as error:
            told.append(error.message)
    assert told == [f"{closed} cannot be read: Permission denied"]


def neptune(folder: Path) -> Path:
    write(folder / "data" / "RUN-1_part_0.parquet", [row("x", "float_series", 1.0, step="1")])
    return folder / "data"
