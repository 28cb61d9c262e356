"""Labels that come by the id of a prediction are learnt from: each once, with the request as it was asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from homeostat.app.apply import feature_set
from homeostat.app.code import find_model
from homeostat.app.container import Container
from homeostat.app.explain import trace
from homeostat.app.outcomes import label
from homeostat.app.reading import read
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.app.trainingdata import Rows, split
from homeostat.domain.records import Run
from tests.app.asking import ask
from tests.app.churning import declare, trained


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home")) as made:
        declare(made, tmp_path / "project")
        trained(made)
        yield made


def requests(count: int, first: int) -> pl.DataFrame:
    usage = np.random.default_rng(first).normal(size=count).clip(-8, 8)
    return pl.DataFrame(
        {"id": np.arange(first, first + count), "plan": ["a", "b"] * (count // 2), "usage": usage}
    )


def learnt(container: Container, run: Run) -> dict[int, tuple[float, float, int]]:
    """By id of the request: a column of it, the feature made of it, the label."""
    model = find_model(container, "churn", run.code)
    found = split(container, run, model, feature_set(container, model))
    out: dict[int, tuple[float, float, int]] = {}
    parts: tuple[Rows, Rows] = (found.train, found.holdout)
    for rows in parts:
        ids = rows.requests["id"].to_list()
        assert not set(ids) & set(out)
        out |= dict(
            zip(
                ids,
                zip(rows.requests["usage"], rows.X.to_series(0), rows.y.tolist(), strict=True),
                strict=True,
            )
        )
    return out


def test_a_request_that_was_only_predicted_is_learnt_from_once_its_label_has_come(
    container: Container,
) -> None:
    before = submit(container, "churn", reason="before")
    assert len(learnt(container, before)) == 600
    asked = requests(40, first=1000)
    ask(container, "churn", asked)
    label(container, "churn", {f"churn-{id}": id % 2 for id in range(1000, 1020)})
    label(
        container, "churn", {f"churn-{id}": 1 for id in range(1010, 1030)}
    )  # half of them again, and ten more
    run = submit(container, "churn", reason="after")
    assert {"dataset/churn.labels@1", "dataset/churn.predictions@1"} <= set(run.inputs)
    found = learnt(container, run)
    assert len(found) == 630
    usage = dict(asked.select("id", "usage").iter_rows())
    for id in range(1000, 1030):
        wanted = id % 2 if id < 1020 else 1
        assert found[id] == (pytest.approx(usage[id]), pytest.approx(usage[id]), wanted)
    assert len(learnt(container, before)) == 600  # what it pinned knows nothing of it
    label(container, "churn", {"churn-1030": 0})
    assert len(learnt(container, run)) == 630
    assert execute(container, run.id) is not None


def test_it_counts_before_the_label_of_its_key_and_the_request_is_a_row_once(container: Container) -> None:
    known = learnt(container, submit(container, "churn", reason="before"))
    ask(container, "churn", requests(6, first=0))
    label(container, "churn", {f"churn-{id}": 1 - known[id][2] for id in range(6)})
    found = learnt(container, submit(container, "churn", reason="after"))
    assert len(found) == 600
    for id in range(6):
        assert found[id] == (known[id][0], known[id][1], 1 - known[id][2])  # the row is that of the dataset
    assert {id: found[id] for id in range(6, 600)} == {id: known[id] for id in range(6, 600)}


def test_what_stands_behind_a_prediction_has_the_label_that_came_by_its_id(container: Container) -> None:
    first, second = ask(container, "churn", requests(2, first=10))
    rows = told(container)
    label(container, "churn", {first.id: not rows[10]})
    assert [trace(container, one.id)["label"] for one in (first, second)] == [not rows[10], rows[11]]


def told(container: Container) -> dict[int, bool]:
    """What the dataset says of each customer."""
    return dict(read(container, "customers").select("id", "churned").collect().iter_rows())
