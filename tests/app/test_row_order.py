"""The rows of a training stand in one order, however they came: what is trained on them is the same each time."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import numpy as np
import polars as pl
import pytest

from homeostat.app.apply import apply, feature_set
from homeostat.app.code import find_model
from homeostat.app.container import Container
from homeostat.app.deliveries import ingest
from homeostat.app.projects import load_project
from homeostat.app.settings import Settings
from homeostat.app.training import submit
from homeostat.app.trainingdata import split

_PROJECT = """
    from datetime import datetime
    import homeostat as hs

    class Asked(hs.Contract):
        id: str
        at: datetime
        usage: float

    class Left(hs.Contract):
        id: str
        left: int

    asked = hs.Dataset("asked", key="id", time="at", contract=Asked)
    left = hs.Dataset("left", key="id", contract=Left)

    @hs.on_request
    def given(r):
        return r.select("usage")

    def train(data):
        return None  # only its rows are looked at

    churn = hs.Model(
        "churn", task=hs.Binary(label="left", source=left, request=asked), features=[given], train=train
    )
"""


def _rows(folder: Path, asked: pl.DataFrame, left: pl.DataFrame) -> tuple[list[str], list[str]]:
    """The ids that are trained on and those that are held out, in their order."""
    project = folder / "project" / "project.py"
    project.parent.mkdir(parents=True)
    project.write_text(dedent(_PROJECT))
    with Container(Settings(home=folder / "home")) as container:
        apply(container, load_project(project))
        for part, rows in enumerate(asked.iter_slices(7_000)):
            ingest(container, "asked", rows, token=f"asked-{part}")
        ingest(container, "left", left, token="left")
        run = submit(container, "churn", reason="to see its rows")
        model = find_model(container, "churn", run.code)
        found = split(container, run, model, feature_set(container, model))
    return found.train.requests["id"].to_list(), found.holdout.requests["id"].to_list()


@pytest.mark.parametrize("seed", [1, 2])
def test_rows_of_one_time_stand_in_one_order(tmp_path: Path, seed: int) -> None:
    count = 20_000
    chance = np.random.default_rng(seed)
    asked = pl.DataFrame(
        {
            "id": [f"r{n}" for n in chance.permutation(count)],
            "at": pl.datetime_range(
                pl.datetime(2026, 1, 1, time_zone="UTC"),
                pl.datetime(2026, 1, 1, 3, time_zone="UTC"),
                "1h",
                eager=True,
            ).gather(chance.integers(0, 4, count)),
            "usage": chance.normal(size=count),
        }
    )
    left = pl.DataFrame({"id": asked["id"], "left": chance.integers(0, 2, count)})
    first = _rows(tmp_path / "first", asked, left)
    again = _rows(tmp_path / "again", asked.sample(fraction=1.0, shuffle=True, seed=seed), left.reverse())
    assert first == again
    ordered = asked.sort("at", "id")["id"].to_list()
    assert first[0] + first[1] == ordered
