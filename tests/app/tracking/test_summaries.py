"""Runs as people look at them, and the best among them, with ties and what does not count."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from homeostat.app.container import Container
from homeostat.app.logged_models import create_logged_model
from homeostat.app.settings import Settings
from homeostat.app.tracking import (
    create_experiment,
    create_run,
    delete_run,
    log,
    log_inputs,
    log_outputs,
    summaries,
    update_run,
)
from homeostat.app.tracking.curves import Heap, all_points, points
from homeostat.app.tracking.summaries import best, find, summary
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.domain.tracking import RunInput
from homeostat.engine.tracking.compare import differences
from homeostat.engine.tracking.points import Point

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def container(store_url: str, tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home", store=store_url)) as container:
        yield container


def begin(
    container: Container,
    id: str,
    experiment: int = 0,
    *,
    kind: str = "tree",
    minute: int = 0,
    **metrics: float,
) -> None:
    create_run(container, experiment, id=id, name=id, started_at=BEGAN + timedelta(minutes=minute))
    log(
        container,
        id,
        metrics=[Point(key, value, 1000 + minute, 1) for key, value in metrics.items()],
        params={"kind": kind},
    )


def test_a_run_with_all_that_is_its_own(container: Container) -> None:
    experiment = create_experiment(container, "exp").id
    begin(container, "abcdef01", experiment, loss=0.5, bad=math.nan)
    log(container, "abcdef01", metrics=[Point("loss", 0.25, 2000, 4)], tags={"mlflow.parentRunId": "p"})
    log_inputs(
        container,
        "abcdef01",
        [
            RunInput(run="", name="rows", digest="d", source_type="local", source="/x"),
            RunInput(run="", name="f", digest="version 3", source_type="homeostat", source="dataset/f@3"),
        ],
    )
    made = create_logged_model(container, experiment, name="model", run="abcdef01").id
    log_outputs(container, "abcdef01", {made: 3})
    update_run(container, "abcdef01", state="failed", ended_at=BEGAN + timedelta(seconds=90), error="why")
    found = summary(container, "abcd")
    assert found == summary(container, "abcdef01")
    assert (found.experiment, found.state, found.seconds, found.error) == ("exp", "failed", 90.0, "why")
    assert (found.params, found.parent) == ({"kind": "tree"}, "p")
    assert found.metrics == {"bad": None, "loss": 0.25}
    assert found.steps == {"bad": 1, "loss": 4}
    assert sorted(found.inputs) == ["dataset/f@3", "rows@d"]
    assert found.models == {made: "output"}
    assert points(container, "abcdef01", "loss").value == [0.5, 0.25]
    assert points(container, "abcdef01", "bad").value == [None]
    together = all_points(container, "abcdef01")
    assert together == Heap({key: points(container, "abcdef01", key) for key in ("bad", "loss")})
    assert all_points(container, "abcdef01", "bad").metrics == {"loss": points(container, "abcdef01", "loss")}
    assert all_points(container, "abcdef01", "loss") == Heap({})


def test_the_beginning_of_an_id(container: Container) -> None:
    begin(container, "aaaa1")
    begin(container, "aaaa2")
    with pytest.raises(Conflict, match="several"):
        summary(container, "aaaa")
    for id in ("bbbb", "aaaa3"):
        with pytest.raises(NotFound):
            summary(container, id)
    with pytest.raises(NotFound, match="4 characters at least"):
        summary(container, "aaa")
    begin(container, "abc")
    assert summary(container, "abc").id == "abc"


def test_finding_over_experiments_and_pages(container: Container) -> None:
    one, two = create_experiment(container, "one").id, create_experiment(container, "2").id
    for minute in range(5):
        begin(container, f"run{minute}", (one, two)[minute % 2], minute=minute, loss=float(minute))
    assert [run.id for run in find(container).runs] == ["run4", "run3", "run2", "run1", "run0"]
    assert [run.id for run in find(container, experiments=["one"]).runs] == ["run4", "run2", "run0"]
    assert [run.experiment for run in find(container, experiments=[str(two)]).runs] == ["2", "2"]
    pages, token = [], ""
    while True:
        page = find(container, "metrics.loss > 0", order_by=["metrics.loss ASC"], limit=3, token=token)
        pages.append([run.id for run in page.runs])
        if not (token := page.token):
            break
    assert pages == [["run1", "run2", "run3"], ["run4"]]
    delete_run(container, "run4")
    assert [run.deleted for run in find(container, view="deleted").runs] == [True]
    with pytest.raises(NotFound, match="'none'"):
        find(container, experiments=["none"])
    with pytest.raises(BadRequest):
        find(container, limit=0)
    with pytest.raises(BadRequest):
        find(container, "loss <")


def test_the_best_with_ties_and_what_does_not_count(container: Container) -> None:
    begin(container, "late", minute=9, loss=0.25)
    begin(container, "early", minute=1, loss=0.25)
    begin(container, "worse", minute=2, loss=0.5)
    begin(container, "nan", minute=3, loss=math.nan)
    begin(container, "none", minute=4)
    begin(container, "other", minute=5, kind="forest", loss=0.125)
    found = best(container, "loss", filter="params.kind = 'tree'")
    assert (found.run.id, found.value, found.ties) == ("early", 0.25, ["late"])
    assert (found.compared, found.without, found.excluded, found.counted) == (3, 2, 1, True)
    assert found.explanation == (
        "run/early has the least loss, 0.25, of 3 runs. 1 other run has exactly the same; it is the one that began"
        " first. Not counted, for they have no value of it: 2. Not counted, for they do not meet params.kind ="
        " 'tree': 1."
    )
    assert best(container, "loss").run.id == "other"
    assert best(container, "loss", goal="max").run.id == "worse"
    for wrong in ("acc", "los"):
        with pytest.raises(NotFound):
            best(container, wrong)
    with pytest.raises(BadRequest):
        best(container, "loss", goal="least")  # type: ignore[arg-type]


def test_of_many_the_rest_is_not_counted(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "_PAGE", 2)
    monkeypatch.setattr(summaries, "_COUNTED", 2)
    for minute, loss in enumerate([3.0, 1.0, 1.0, 1.0, 2.0, 4.0, 5.0]):
        begin(container, f"r{minute}", minute=minute, loss=loss)
    found = best(container, "loss")
    assert (found.run.id, found.ties, found.counted) == ("r1", ["r2", "r3"], False)
    assert "of more than 4 runs" in found.explanation


def test_differences() -> None:
    found = differences("param", {"a": 1, "b": 2, "n": None}, {"a": 1, "b": 3, "c": 4})
    assert [(one.name, one.a, one.b) for one in found] == [("b", 2, 3), ("c", None, 4), ("n", None, None)]


def test_points_come_in_heaps(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeostat.app.tracking.curves._HELD", 3)
    begin(container, "abcdef01", create_experiment(container, "exp").id)
    log(
        container,
        "abcdef01",
        metrics=[Point(key, float(step), 1000, step) for key in "abcde" for step in range(2)],
    )
    read: dict[str, list[float | None]] = {}
    last, heaps = "", 0
    while heaps == 0 or last:
        heap = all_points(container, "abcdef01", last)
        read |= {key: one.value for key, one in heap.metrics.items()}
        last, heaps = heap.last, heaps + 1
    assert heaps == 5
    assert read == {key: [0.0, 1.0] for key in "abcde"}
