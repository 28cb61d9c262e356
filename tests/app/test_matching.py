"""Requests meet their labels by the whole key, and of what was corrected the newest counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent

import numpy as np
import polars as pl

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
        shop: str
        number: int
        at: datetime
        price: float

    class Returned(hs.Contract):
        shop: str
        number: int
        returned: int

    asked = hs.Dataset("asked", key=["shop", "number"], time="at", contract=Asked)
    returned = hs.Dataset("returned", key=["shop", "number"], contract=Returned)

    @hs.on_request
    def given(r):
        return r.select("price")

    def train(data):
        return None  # only its rows are looked at

    sold = hs.Model(
        "sold", task=hs.Binary(label="returned", source=returned, request=asked), features=[given], train=train
    )
"""
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def test_rows_and_labels_of_one_key_meet_as_they_came_last(tmp_path: Path) -> None:
    project = tmp_path / "project" / "project.py"
    project.parent.mkdir()
    project.write_text(dedent(_PROJECT))
    chance = np.random.default_rng(3)
    asked: dict[tuple[str, int], tuple[datetime, float]] = {}
    labels: dict[tuple[str, int], int] = {}
    with Container(Settings(home=tmp_path / "home")) as container:
        apply(container, load_project(project))
        # Half of a part's keys are of parts before, and a third of all are never labelled.
        for part in range(4):
            keys = [("ab"[n % 2], n // 2 - 50) for n in chance.permutation(200)[:100].tolist()]
            rows = [(*key, _FIRST + timedelta(hours=key[1]), float(chance.normal())) for key in keys]
            asked |= {(shop, number): (at, price) for shop, number, at, price in rows}
            known = [(*key, int(chance.integers(0, 2))) for key in keys if key[1] % 3]
            labels |= {(shop, number): label for shop, number, label in known}
            for name, columns, given in (
                ("asked", ["shop", "number", "at", "price"], rows),
                ("returned", ["shop", "number", "returned"], known),
            ):
                frame = pl.DataFrame(given, schema=columns, orient="row")
                ingest(container, name, frame, token=f"{name}-{part}")
        run = submit(container, "sold", reason="to see its rows")
        model = find_model(container, "sold", run.code)
        found = split(container, run, model, feature_set(container, model))
    parts = (found.train, found.holdout)
    seen = [
        (row["at"], row["shop"], row["number"], row["price"], label)
        for part in parts
        for row, label in zip(part.requests.iter_rows(named=True), part.y.tolist(), strict=True)
    ]
    assert seen == sorted((asked[key][0], *key, asked[key][1], labels[key]) for key in asked.keys() & labels)
    assert [x for part in parts for x in part.X["given__price"].to_list()] == [row[3] for row in seen]
