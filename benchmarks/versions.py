"""A home with a model of two versions, trained by the loop on whatever rows a benchmark asks about."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit

_PROJECT = """
from sklearn.linear_model import LogisticRegression

import homeostat as hs

rows = hs.Dataset("rows", key="id", path="rows.csv")


def train(data):
    return LogisticRegression().fit(data.X, data.y)


answer = hs.Model("answer", task=hs.Binary(label="y", source=rows), train=train)
"""


def two_versions(folder: Path, rows: pl.DataFrame) -> Path:
    """The home, below ``folder``. The model is called ``answer``, and so is its deployment.

    Args:
        rows: ``id``, the label ``y``, and the features.
    """
    project = folder / "project"
    project.mkdir()
    (project / "project.py").write_text(_PROJECT)
    rows.write_csv(project / "rows.csv")
    home = folder / "home"
    with Container(Settings(home=home)) as container:
        apply(container, load_project(project))
        for _ in range(2):
            execute(container, submit(container, "answer", reason="benchmark").id)
            react_all(container)
    return home
