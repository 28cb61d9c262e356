"""Logging: whatever the batches, a history holds each point once in order, and the latest is the greatest."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeostat.app import tracking
from homeostat.app.container import Container
from homeostat.app.logged_models import create_logged_model
from homeostat.app.settings import Settings
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.tracking import LoggedModelMetric, Metric, MetricBlock, Param
from homeostat.engine.tracking import blocks
from homeostat.engine.tracking.points import Point

KEY = st.sampled_from(["loss", "acc", "lr", "a b", "z"])
VALUE = st.sampled_from([0.0, 0.5, 1.0, math.nan, math.inf, -math.inf])
POINT = st.builds(Point, key=KEY, value=VALUE, timestamp=st.integers(0, 5), step=st.integers(-2, 30))
BATCHES = st.lists(st.lists(POINT, max_size=1) | st.lists(POINT, max_size=30), max_size=14)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lasting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """One store for every example."""
    folder = tmp_path_factory.mktemp("home")
    store = f"sqlite:///{folder}/store.db"
    if request.param == "postgresql":
        store = request.getfixturevalue("databases").shared
    with Container(Settings(home=folder, store=store)) as container:
        yield container


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """Where the short way waits."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that a few points go through every merge."""
    monkeypatch.setattr(blocks, "SMALL", 6)
    monkeypatch.setattr(blocks, "LARGE", 20)
    monkeypatch.setattr(blocks, "WIDE", 3)


def log(container: Container, run: str, points: list[Point], loop: asyncio.Runner) -> None:
    """Log points in the short way, where there is one and it can be gone."""
    if len(points) != 1 or not loop.run(tracking.log_soon(container, run, points[0])):
        tracking.log(container, run, metrics=points)


def place(value: float, timestamp: int, step: int) -> tuple[int, int, bool, float]:
    return timestamp, step, math.isnan(value), 0.0 if math.isnan(value) else value


def rank(value: float, timestamp: int, step: int) -> tuple[int, int, bool, float]:
    return step, timestamp, not math.isnan(value), 0.0 if math.isnan(value) else value


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("size", [1, 5, 7, 15, 19, 33, 50])
def test_no_merge_loses_a_point(lasting: Container, loop: asyncio.Runner, size: int) -> None:
    run = tracking.create_run(lasting, 0)
    steps = range(size * 20)
    for begin in steps[::size]:
        points = [Point("ab"[step % 2], 0.5, 0, step) for step in steps[begin : begin + size]]
        log(lasting, run.id, points, loop)
    found = [tracking.history(lasting, run.id, key).step.tolist() for key in "ab"]
    assert found == [list(steps[::2]), list(steps[1::2])]


@pytest.mark.usefixtures("small_blocks")
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(batches=BATCHES)
def test_history_and_latest_under_any_batching(
    lasting: Container, loop: asyncio.Runner, batches: list[list[Point]]
) -> None:
    run = tracking.create_run(lasting, 0)
    for batch in batches:
        log(lasting, run.id, batch, loop)
    every: dict[str, set[tuple[int, int, bool, float]]] = {}
    greatest: dict[str, tuple[int, int, bool, float]] = {}
    for point in (point for batch in batches for point in batch):
        at = point.value, point.timestamp, point.step
        every.setdefault(point.key, set()).add(place(*at))
        greatest[point.key] = max(greatest.get(point.key, rank(*at)), rank(*at))
    for key in ["loss", "acc", "lr", "a b", "z", "none"]:
        found = tracking.history(lasting, run.id, key)
        rows = zip(found.value.tolist(), found.timestamp.tolist(), found.step.tolist(), strict=True)
        assert [place(*row) for row in rows] == sorted(every.get(key, set()))
        assert len(found) == len(every.get(key, set()))
    latest = tracking.run_data(lasting, [run.id])[run.id].metrics
    assert {
        one.key: rank(math.nan if one.value is None else one.value, one.timestamp, one.step) for one in latest
    } == greatest
    kept = lasting.store.find(Metric, ("run", "=", run.id))
    assert all(one.experiment == 0 for one in kept)


@pytest.mark.usefixtures("small_blocks")
def test_blocks_stay_few_and_a_history_reads_only_those_of_its_key(
    lasting: Container, loop: asyncio.Runner
) -> None:
    run = tracking.create_run(lasting, 0)
    for step in range(300):
        log(lasting, run.id, [Point(f"m{step % 10}", 1.0, step, step)], loop)
    held = lasting.store.find(MetricBlock, ("run", "=", run.id), order=["seq"])
    assert sum(block.count for block in held) == 300
    assert [block.level for block in held] == sorted((block.level for block in held), reverse=True)
    assert len([block for block in held if block.level == 0]) <= 5
    assert max(block.level for block in held) == 2
    merged = [block for block in held if block.level == 2]
    assert all(block.keys == sorted(block.keys) for block in merged)
    assert len([block for block in merged if block.first <= "m4" <= block.last]) < len(merged)
    assert len(tracking.history(lasting, run.id, "m4")) == 30


@pytest.mark.usefixtures("small_blocks")
def test_a_single_metric_is_not_merged_over_and_over(lasting: Container) -> None:
    run = tracking.create_run(lasting, 0)
    for step in range(200):
        tracking.log(lasting, run.id, metrics=[Point("loss", float(step), step, step)])
    held = lasting.store.find(MetricBlock, ("run", "=", run.id))
    assert max(block.level for block in held) == 2
    assert max(block.count for block in held) < 40
    assert tracking.history(lasting, run.id, "loss").step.tolist() == list(range(200))


def test_many_points_at_once(lasting: Container) -> None:
    run = tracking.create_run(lasting, 0)
    many = [Point(f"k{number % 7}", float(number), number, number) for number in range(50_000)]
    tracking.log(lasting, run.id, metrics=many)
    tracking.log(lasting, run.id, metrics=many[:10])
    found = tracking.history(lasting, run.id, "k3")
    assert found.step.tolist() == list(range(3, 50_000, 7))
    assert max(b.count for b in lasting.store.find(MetricBlock, ("run", "=", run.id))) < 2 * blocks.LARGE


def test_more_metrics_than_a_block_can_number(lasting: Container) -> None:
    run = tracking.create_run(lasting, 0)
    for part in range(3):
        names = range(part * 30_000, part * 30_000 + 30_000)
        tracking.log(lasting, run.id, metrics=[Point(f"k{name}", float(name), 0, 0) for name in names])
    for name in (0, 29_999, 30_000, 61_234, 89_999):
        assert tracking.history(lasting, run.id, f"k{name}").value.tolist() == [float(name)]


def test_all_of_a_batch_or_nothing(lasting: Container) -> None:
    run = tracking.create_run(lasting, 0)
    tracking.log(lasting, run.id, params={"lr": "0.1", "depth": "3"})
    tracking.log(lasting, run.id, params={"lr": "0.1", "new": "1"})
    with pytest.raises(BadRequest, match=r"Changing param values is not allowed.*'lr'.*'0.1'.*'0.2'"):
        tracking.log(
            lasting,
            run.id,
            metrics=[Point("loss", 1.0, 0)],
            params={"other": "1", "lr": "0.2"},
            tags={"t": "1"},
        )
    data = tracking.run_data(lasting, [run.id])[run.id]
    assert data.params == {"lr": "0.1", "depth": "3", "new": "1"}
    assert data.metrics == []
    assert set(data.tags) == {"mlflow.runName"}
    assert len(tracking.history(lasting, run.id, "loss")) == 0


def test_tags_are_set_replaced_and_removed(lasting: Container) -> None:
    run = tracking.create_run(lasting, 0, tags={"a": "1"})
    tracking.tag_run(lasting, run.id, "a", "2")
    tracking.log(lasting, run.id, tags={"b": "", "mlflow.runName": "renamed"})
    assert tracking.run_data(lasting, [run.id])[run.id].tags == {
        "a": "2",
        "b": "",
        "mlflow.runName": "renamed",
    }
    assert tracking.run(lasting, run.id).name == "renamed"
    tracking.untag_run(lasting, run.id, "a")
    with pytest.raises(NotFound, match="No tag with name: a in run"):
        tracking.untag_run(lasting, run.id, "a")


def test_a_run_that_is_deleted_or_not_there_takes_nothing(lasting: Container) -> None:
    run = tracking.create_run(lasting, 0)
    tracking.delete_run(lasting, run.id)
    with pytest.raises(BadRequest, match="must be in the 'active' state"):
        tracking.log(lasting, run.id, tags={"a": "1"})
    with pytest.raises(NotFound, match="Run with id=none not found"):
        tracking.log(lasting, "none", tags={"a": "1"})
    with pytest.raises(NotFound, match="Run with id=none not found"):
        tracking.history(lasting, "none", "loss")


def test_what_is_logged_is_measured_and_a_new_name_is_told(lasting: Container) -> None:
    run = tracking.create_run(lasting, 0, name="first")
    point = Point("loss", 1.0, 0)
    tracking.log(lasting, run.id, metrics=[point], params={"lr": "0.1"}, tags={"mlflow.runName": "first"})
    tracking.tag_run(lasting, run.id, "a", "1")
    tracking.untag_run(lasting, run.id, "a")
    assert [event.kind for event in lasting.ledger.find(subject=f"run/{run.id}")] == ["run.created"]
    tracking.tag_run(lasting, run.id, "mlflow.runName", "second")
    renamed = lasting.ledger.find(subject=f"run/{run.id}", kinds=["run.renamed"])
    assert [event.body["name"] for event in renamed] == ["second"]


def test_points_about_models_are_kept_for_each_dataset(lasting: Container) -> None:
    run = tracking.create_run(lasting, 0)
    model = create_logged_model(lasting, 0, run=run.id).id
    about: dict[str, Any] = {"model": model, "dataset": "d", "digest": "1"}
    tracking.log(
        lasting,
        run.id,
        metrics=[
            Point("loss", 0.5, 1, 1, **about),
            Point("loss", 0.4, 2, 2, **about),
            Point("loss", math.nan, 1, 1, model=model),
            Point("other", 1.0, 1, 1),
        ],
    )
    tracking.log(lasting, run.id, metrics=[Point("loss", 0.9, 1, 1, **about)])
    found = lasting.store.find(LoggedModelMetric, ("model", "=", model), order=["dataset", "step"])
    points = [(one.dataset, one.value, one.step) for one in found]
    assert points == [("", None, 1), ("d", 0.9, 1), ("d", 0.4, 2)]
    assert len(tracking.history(lasting, run.id, "loss")) == 4


def test_what_many_runs_logged_is_read_together(lasting: Container) -> None:
    runs = [tracking.create_run(lasting, 0, name=f"r{number}") for number in range(3)]
    for number, run in enumerate(runs):
        tracking.log(lasting, run.id, params={"n": str(number)}, metrics=[Point("loss", float(number), 0)])
    found = tracking.run_data(lasting, [run.id for run in reversed(runs)])
    assert list(found) == [run.id for run in reversed(runs)]
    assert [data.params["n"] for data in found.values()] == ["2", "1", "0"]
    assert tracking.run_data(lasting, []) == {}


def test_threads_that_log_to_one_run_lose_nothing(lasting: Container) -> None:
    run = tracking.create_run(lasting, 0)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(25):
                points = [Point("loss", float(number), number, step), Point(f"of{number}", 1.0, step, step)]
                tracking.log(lasting, run.id, metrics=points, params={f"p{step}": "v"})
        except BaseException as error:  # noqa: BLE001 - told by the assertion
            errors.append(error)

    threads = [Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(tracking.history(lasting, run.id, "loss")) == 150
    assert lasting.store.count(Param, ("run", "=", run.id)) == 25
    (latest,) = [one for one in tracking.run_data(lasting, [run.id])[run.id].metrics if one.key == "loss"]
    assert (latest.step, latest.timestamp, latest.value) == (24, 5, 5.0)
