"""Of a log that is larger than a look can hold a sample is judged, which says so, and is a fair one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from homeostat.app.code import find_model
from homeostat.app.container import Container
from homeostat.app.datasets import append_log
from homeostat.app.outcomes import log_of
from homeostat.app.quality import assess
from homeostat.app.reading import LARGE, read
from homeostat.app.settings import Settings
from homeostat.app.traffic import traffic
from homeostat.app.watching import watch
from homeostat.cli.quality import _show
from homeostat.domain.contracts import SEQ, Contract
from homeostat.domain.declarations import Dataset, Ranking
from homeostat.domain.records import Window
from tests.app.asking import ask
from tests.app.churning import declare, trained

ROWS = 2 * LARGE + 100_000
PART = 100_000
USED = 600  # customers of the project


class Page(Contract):
    id: int
    key: str
    clicked: int


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A model that was asked more than a million times within an hour, a tenth of it twice."""
    folder = tmp_path_factory.mktemp("busy")
    with Container(Settings.load(environ={"HOMEOSTAT_HOME": str(folder / "home")})) as container:
        declare(
            container,
            folder / "project",
            "data_quality=hs.DataQuality(duplicates=0.01), "
            'retrain=hs.when(hs.drift(of=["asked__usage"], threshold=0.2)),',
        )
        trained(container)
        rng = np.random.default_rng(1)
        few = pl.DataFrame(
            {"id": range(50), "plan": ["a", "b"] * 25, "usage": rng.normal(size=50).clip(-8, 8)}
        )
        ask(container, "churn", few)
        base = read(container, log_of("churn")).drop(SEQ).collect()
        now = container.clock.now()
        for part in range(ROWS // PART):
            twice = rng.normal(size=PART)
            twice[1 : PART // 5 : 2] = twice[0 : PART // 5 : 2]
            customers = [str(place // 2 % USED) for place in range(PART)]
            rows = base.sample(PART, with_replacement=True, seed=part).with_columns(
                prediction_id=pl.Series([f"{part:04d}-{place:06d}" for place in range(PART)]),
                key=pl.Series(customers),
                asked__usage=pl.Series(twice),
                asked__is_a=pl.lit(1.0),
                score=pl.Series(1 / (1 + np.exp(-twice))),
                at=pl.lit(now) - timedelta(hours=1) + pl.Series(np.arange(PART)).cast(pl.Duration("us")),
            )
            append_log(container, log_of("churn"), rows)
        yield container


def test_a_sample_says_of_how_many_each_row_is(busy: Container) -> None:
    rows, one_in = traffic(busy, "churn")
    assert one_in == 3
    assert rows.height == pytest.approx(ROWS / 3, rel=0.01)
    assert rows["prediction_id"].n_unique() == rows.height


def test_what_is_few_is_taken_whole(busy: Container) -> None:
    rows, one_in = traffic(busy, "churn", pl.col("prediction_id").str.starts_with("0003-"))
    assert (rows.height, one_in) == (PART, 1)


def test_what_is_judged_together_is_in_a_sample_together(busy: Container) -> None:
    """By the column of a ranking's query, here the customer."""
    task = Ranking(label="clicked", source=Dataset("pages", key="id", contract=Page), query="key")
    rows, one_in = traffic(busy, "churn", task=task)
    sizes = rows.group_by("key").len()["len"]
    whole = read(busy, log_of("churn")).group_by("key").len().collect()
    assert one_in == 3
    assert sizes.len() < whole.height
    assert sorted(sizes) == sorted(whole.filter(pl.col("key").is_in(rows["key"].implode()))["len"])


def test_monitors_judge_a_sample_as_they_would_all(busy: Container) -> None:
    watch(busy, find_model(busy, "churn"))
    found = {one.monitor: one for one in busy.store.find(Window)}
    whole = (
        read(busy, log_of("churn")).select(pl.col("asked__usage").mean(), pl.col("score").mean()).collect()
    )
    quality = found["log_loss"]
    assert quality.detail["one_in"] == found["duplicates"].detail["one_in"] == 3
    assert quality.rows == pytest.approx(ROWS / 3, rel=0.01)
    assert quality.detail["predicted"] == pytest.approx(whole["score"][0], abs=0.005)
    assert found["duplicates"].value == pytest.approx(0.1, rel=0.02), (
        "what asks the same is not in one sample"
    )
    assert found["duplicates"].breached


def test_who_asks_for_quality_is_told_of_the_sample(
    busy: Container, capsys: pytest.CaptureFixture[str]
) -> None:
    found = assess(busy, "churn")
    assert found.one_in == 3
    assert found.inputs is not None
    assert found.inputs.repeated == pytest.approx(0.1, rel=0.02)
    _show(found, "model/churn")
    assert "one in 3 looked at" in " ".join(capsys.readouterr().out.split())
