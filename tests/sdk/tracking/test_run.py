"""`hs.run` and `hs.log`, in threads, tasks, forks and one inside the other; read back from a store."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

import homeostat as hs
from homeostat.app import artifacts
from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.app.tracking import RunData, history, run_data
from homeostat.domain import records
from homeostat.domain.tracking import ArtifactFile
from homeostat.sdk.tracking.local import Local
from homeostat.sdk.tracking.sync import sync


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home without a server."""
    for name in [name for name in os.environ if name.startswith("HOMEOSTAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOMEOSTAT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOMEOSTAT_SERVER", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("homeostat")
    before = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(before)


class Stored:
    """What a store has after a sync."""

    def __init__(self, home: Path) -> None:
        with Container(Settings(home=home)) as container:
            done = sync(home / "spool", Local(container))
            # This process looks for a server again now and then.
            while busy := [one for one in done if one.state == "busy"]:
                done = [one for one in done if one not in busy] + sync(home / "spool", Local(container))
            self.problems = [problem for one in done for problem in one.problems]
            self.states = [one.state for one in done]
            self.runs = {run.id: run for run in container.store.find(records.Run)}
            self.data: dict[str, RunData] = run_data(container, self.runs)
            self.points = {
                (id, metric.key): history(container, id, metric.key)
                for id, data in self.data.items()
                for metric in data.metrics
            }
            self.files = {
                (file.root.split("/")[1], file.path): b"".join(artifacts.content(container, file))
                for file in container.store.find(ArtifactFile)
            }

    def values(self, run: hs.Run, key: str) -> list[tuple[int, float]]:
        found = self.points[run.id, key]
        return sorted(zip(found.step.tolist(), found.value.tolist(), strict=True))


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[], Stored]:
    return lambda: Stored(tmp_path / "home")


def test_what_is_logged_is_stored(stored: Callable[[], Stored]) -> None:
    with hs.run("exp", name="n", params={"a": 1, "b": {"c": None}}, tags={"t": 1}, capture=False) as run:
        hs.log(loss=0.5, acc=1)
        hs.log({"val/loss": math.nan, "train": {"loss": math.inf}}, step=7)
        hs.log(loss=np.float32(0.25), one=np.array([3]), frac=Fraction(1, 4), flag=True)
        hs.log(loss=2, step=np.int64(3))
        run.log({}, step=5)
        hs.log_params(lr=0.1)
        run.tag(u="2", t=None)
        run.note("why")
    found = stored()
    assert found.problems == []
    assert found.values(run, "loss") == [(0, 0.5), (3, 2.0), (8, 0.25)]
    assert found.values(run, "train/loss") == [(7, math.inf)]
    assert math.isnan(found.values(run, "val/loss")[0][1])
    assert [found.values(run, key) for key in ("one", "frac", "flag")] == [
        [(8, 3.0)],
        [(8, 0.25)],
        [(8, 1.0)],
    ]
    data = found.data[run.id]
    assert data.params == {"a": "1", "b.c": "None", "lr": "0.1"}
    assert (data.tags["u"], data.tags["mlflow.note.content"], "t" in data.tags) == ("2", "why", False)
    assert (found.runs[run.id].state, found.runs[run.id].name) == ("succeeded", "n")


@pytest.mark.parametrize(
    ("values", "step", "field"),
    [
        ({"a\nb": 1.0}, None, "name"),
        ({"": 1.0}, None, "name"),
        ({"../a": 1.0}, None, "name"),
        ({"a" * 300: 1.0}, None, "name"),
        ({"a": 1.0}, 1.5, "step"),
        ({"a": 1.0}, 2**63, "step"),
        ({"a": object()}, None, "a"),
        ({"a": np.zeros(3)}, None, "a"),
        ({"a": None}, None, "a"),
    ],
)
def test_what_cannot_be_is_said_at_once(values: Any, step: Any, field: str) -> None:
    with hs.run("exp", capture=False), pytest.raises(hs.BadRequest) as caught:
        hs.log(values, step=step)
    assert caught.value.field == field


def test_a_number_that_does_not_fit_is_left_out(
    stored: Callable[[], Stored], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "homeostat")
    with hs.run("exp", capture=False) as run:
        hs.log(big=10**400, loss=1)
        with pytest.raises(hs.BadRequest, match="neither a number"):
            hs.log(big=Fraction(10**400))
    assert "does not fit" in caplog.text
    assert stored().values(run, "loss") == [(0, 1.0)]


def test_parameters_do_not_change(stored: Callable[[], Stored]) -> None:
    with hs.run("exp", params={"lr": 1}, capture=False) as run:
        hs.log_params({"lr": 1})
        with pytest.raises(hs.BadRequest, match="'1' already"):
            hs.log_params(lr=2)
    with hs.run("exp", id=run.id, params={"lr": 3}, capture=False):
        pass
    found = stored()
    assert found.data[run.id].params == {"lr": "1"}
    assert "refused" in found.problems[0]


def test_what_is_larger_than_a_record_may_be(
    stored: Callable[[], Stored], caplog: pytest.LogCaptureFixture
) -> None:
    with hs.run("big") as one:
        one.log_params({f"p{n:04}": "x" * 6000 for n in range(3000)})
        one.log_input(pl.DataFrame({"c" * 6_000_000 + str(n): [1] for n in range(3)}), name="wide")
        one.log(loss=1.0)
    assert "left out of the run: input of" in caplog.text
    data = stored().data[one.id]
    assert len(data.params) == 3000
    assert [metric.key for metric in data.metrics if metric.key == "loss"] == ["loss"]


def test_how_runs_end(stored: Callable[[], Stored]) -> None:
    ended = {}
    for error in (ValueError("bad"), KeyboardInterrupt(), SystemExit(0), SystemExit(3)):
        with pytest.raises(type(error)), hs.run("exp", capture=False) as run:
            raise error
        ended[repr(error)] = run
        with pytest.raises(hs.Conflict, match="has ended"):
            run.log(loss=1.0)
        run.finish("failed")
    with pytest.raises(hs.Conflict, match="no run is active"):
        hs.log(loss=1.0)
    runs = stored().runs
    assert [(runs[run.id].state, runs[run.id].error) for run in ended.values()] == [
        ("failed", "ValueError: bad"),
        ("cancelled", "interrupted from the keyboard"),
        ("succeeded", ""),
        ("failed", "SystemExit: 3"),
    ]


def test_runs_inside_runs_and_one_after_the_other(stored: Callable[[], Stored]) -> None:
    with hs.run("exp", capture=False) as outer:
        with hs.run("exp", capture=False) as inner:
            hs.log(loss=1.0)
        hs.log(loss=2.0)
    first = hs.run("exp", capture=False)
    second = hs.run("exp", capture=False)
    assert (first.state, second.state) == ("succeeded", None)
    hs.log(loss=3.0)
    child = hs.run("exp", parent=second, capture=False)
    hs.log(loss=4.0)
    child.finish()
    hs.log(loss=5.0)
    second.finish()
    found = stored()
    assert [found.values(run, "loss") for run in (inner, outer, child)] == [
        [(0, 1.0)],
        [(0, 2.0)],
        [(0, 4.0)],
    ]
    assert found.values(second, "loss") == [(0, 3.0), (1, 5.0)]
    parents = {id: data.tags.get("mlflow.parentRunId") for id, data in found.data.items()}
    assert parents == {
        outer.id: None,
        inner.id: outer.id,
        first.id: None,
        second.id: None,
        child.id: second.id,
    }


def test_threads_and_tasks_have_their_own_runs(stored: Callable[[], Stored]) -> None:
    runs: list[tuple[hs.Run, float]] = []

    def work(number: int) -> None:
        with hs.run("exp", capture=False) as run:
            for _ in range(50):
                hs.log(loss=float(number))
            runs.append((run, float(number)))

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def task(number: int) -> None:
        with hs.run("exp", capture=False) as run:
            await asyncio.sleep(0)
            hs.log(loss=float(number))
            runs.append((run, float(number)))

    async def tasks() -> None:
        await asyncio.gather(*(task(number) for number in range(10, 13)))

    asyncio.run(tasks())
    with hs.run("exp", capture=False) as outer:
        helper = threading.Thread(target=lambda: hs.log(loss=99.0))
        helper.start()
        helper.join()
    found = stored()
    for run, number in runs:
        assert {value for _, value in found.values(run, "loss")} == {number}
    assert found.values(outer, "loss") == [(0, 99.0)]


def test_runs_side_by_side_neither_end_nor_contain_each_other(stored: Callable[[], Stored]) -> None:
    made: list[hs.Run] = []

    def beside() -> None:
        made.append(hs.run("exp", capture=False))
        with hs.run("exp", capture=False) as second:  # ends the one that this thread began, no other
            made.append(second)
            made.append(hs.run("exp", parent=first, capture=False))
            made[-1].finish()
            hs.log(loss=2.0)

    async def task() -> None:
        with hs.run("exp", capture=False) as run:
            made.append(run)
            await asyncio.sleep(0)

    async def tasks() -> None:
        await asyncio.gather(task(), task())

    first = hs.run("exp", capture=False)
    thread = threading.Thread(target=beside)
    thread.start()
    thread.join()
    assert [run.state for run in (first, *made)] == [None, "succeeded", "succeeded", "succeeded"]
    hs.log(loss=1.0)
    first.finish()
    with hs.run("exp", capture=False) as last:
        thread = threading.Thread(target=lambda: asyncio.run(tasks()))
        thread.start()
        thread.join()
    found = stored()
    assert found.values(first, "loss") == [(0, 1.0)]
    assert found.values(made[1], "loss") == [(0, 2.0)]
    parents = [found.data[run.id].tags.get("mlflow.parentRunId") for run in (*made, last)]
    assert parents == [None, None, first.id, None, None, None]


def test_a_thread_without_a_run_logs_to_the_one_that_is_meant(stored: Callable[[], Stored]) -> None:
    refused: list[str] = []

    def log(value: float) -> None:
        try:
            hs.log(loss=value)
        except hs.Conflict as error:
            refused.append(error.message)

    def helped(value: float) -> None:
        thread = threading.Thread(target=log, args=[value])
        thread.start()
        thread.join()

    def beside() -> None:
        with hs.run("exp", capture=False):
            helped(2.0)

    with hs.run("exp", capture=False) as outer:
        with hs.run("exp", capture=False) as inner:
            helped(1.0)
            thread = threading.Thread(target=beside)
            thread.start()
            thread.join()
            helped(3.0)
        helped(4.0)
    assert len(refused) == 1
    assert "2 runs go on" in refused[0]
    found = stored()
    assert found.values(inner, "loss") == [(0, 1.0), (1, 3.0)]
    assert found.values(outer, "loss") == [(0, 4.0)]


def test_a_helper_of_a_trial_in_a_pool_logs_to_the_trial(stored: Callable[[], Stored]) -> None:
    def trial(sweep: hs.Run) -> hs.Run:
        with hs.run("exp", parent=sweep, capture=False) as run:
            helper = threading.Thread(target=hs.log, kwargs={"loss": 1.0})
            helper.start()
            helper.join()
        return run

    with hs.run("exp", capture=False) as sweep, ThreadPoolExecutor(1) as pool:
        run = pool.submit(trial, sweep).result()
    assert stored().values(run, "loss") == [(0, 1.0)]


def test_a_forked_child_adds_to_the_run(stored: Callable[[], Stored]) -> None:
    with hs.run("exp", capture=False) as run:
        hs.log(loss=1.0, step=0)
        assert run.flush()
        child = os.fork()
        if child == 0:
            hs.log(loss=2.0, step=1)
            os._exit(0 if run.flush() else 1)
        assert os.waitpid(child, 0)[1] == 0
        hs.log(loss=3.0, step=2)
    found = stored()
    assert found.values(run, "loss") == [(0, 1.0), (1, 2.0), (2, 3.0)]
    assert found.runs[run.id].state == "succeeded"
    assert found.states == ["sent", "sent"]


def test_a_run_goes_on_at_the_next_step(stored: Callable[[], Stored], tmp_path: Path) -> None:
    with hs.run("exp", id="abc123", capture=False):
        hs.log(loss=1.0)
        hs.log(loss=2.0, step=9)
    with hs.run("exp", id="abc123", name="again", capture=False) as run:
        hs.log(loss=3.0)
    found = stored()
    assert found.values(run, "loss") == [(0, 1.0), (9, 2.0), (10, 3.0)]
    assert found.runs["abc123"].name == "again"
    shutil.rmtree(tmp_path / "home" / "spool")  # then the store knows
    with hs.run("exp", id="abc123", capture=False):
        hs.log(loss=4.0)
    assert stored().values(run, "loss")[-1] == (11, 4.0)
    for wrong in ("../x", "a b", "é"):
        with pytest.raises(hs.BadRequest):
            hs.run("exp", id=wrong)


def test_points_lie_on_the_axes_that_were_declared(stored: Callable[[], Stored]) -> None:
    with hs.run("exp", axes={"val": "epoch"}, capture=False) as run:
        for step in range(4):
            hs.log(loss=1.0 - step / 8, step=step)
            if step % 2:
                hs.log({"val/loss": step}, epoch=step / 2, step=step)
        run.axes({"loss": "time"})
    assert hs.history(run, "val/loss").select("step", "value", "at").rows() == [(1, 1.0, 0.5), (3, 3.0, 1.5)]
    times = hs.history(run.id[:8], "loss")
    assert (times["timestamp"].dt.epoch("ms") == times["at"]).all()
    assert hs.history(run, "loss", axis="epoch")["at"].to_list() == [None, 0.5, 0.5, 1.5]
    assert hs.history(run, "loss", axis="step")["at"].to_list() == [0, 1, 2, 3]
    assert hs.history(run, "none").is_empty()
    assert stored().data[run.id].tags["homeostat.axis.val"] == "epoch"


def test_files_and_folders(stored: Callable[[], Stored], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"a" * 200_000)
    (folder / "sub" / "b.txt").write_text("b")
    with hs.run("exp", capture=False) as run:
        hs.log_artifact(folder, "models/best")
        hs.log_artifact(folder / "a.bin")
        (folder / "a.bin").write_bytes(b"changed")
        run.log_text("hello", "notes/x.txt")
        with pytest.raises(hs.BadRequest, match="no file"):
            hs.log_artifact(tmp_path / "none")
    files = {path: content for (_, path), content in stored().files.items()}
    assert files == {
        "a.bin": b"a" * 200_000,
        "models/best/a.bin": b"a" * 200_000,
        "models/best/sub/b.txt": b"b",
        "notes/x.txt": b"hello",
    }


def test_values_that_are_no_numbers(stored: Callable[[], Stored]) -> None:
    with hs.run("exp", capture=False) as run:
        hs.log(loss=1.0, sample=hs.Image(np.zeros((2, 3))), words="some words", step=4)
        hs.log({"val/rows": pl.DataFrame({"a": [1]}), "many": [hs.Text("x"), hs.Text("y")]}, step=5)
    found = stored()
    told = {
        path: msgspec.json.decode(content)
        for (_, path), content in found.files.items()
        if path.endswith(".json")
    }
    assert sorted((one["type"], one["key"], one["step"]) for one in told.values()) == [
        ("image", "sample", 4),
        ("table", "val/rows", 5),
        ("text", "many", 5),
        ("text", "many", 5),
        ("text", "words", 4),
    ]
    for path, one in told.items():
        assert path.startswith(f"values/{one['key']}/{one['step']:012d}-")
        if "file" in one:
            assert (run.id, one["file"]) in found.files
    assert found.values(run, "loss") == [(4, 1.0)]


def test_inputs(stored: Callable[[], Stored], tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("a\n1\n")
    with hs.run("exp", capture=False) as run:
        hs.log_input("dataset/flights@12", context="eval")
        hs.log_input(rows, tags={"n": 1})
        hs.log_input(tmp_path / "rows.csv", name="same")
        hs.log_input(pl.DataFrame({"a": [1], "b": ["x"]}), name="frame")
        hs.log_input(np.arange(6).reshape(2, 3))
        for wrong in ("dataset/flights", tmp_path / "none", 3):
            with pytest.raises(hs.HomeostatError):
                hs.log_input(wrong)
    inputs = {one.name: one for one in stored().data[run.id].inputs}
    assert (inputs["flights"].source, inputs["flights"].tags) == (
        "dataset/flights@12",
        {"mlflow.data.context": "eval"},
    )
    assert inputs["rows.csv"].digest == inputs["same"].digest
    assert inputs["rows.csv"].tags["n"] == "1"
    assert "mlflow_colspec" in inputs["frame"].schema
    assert '"num_rows":1' in inputs["frame"].profile
    assert '"shape":[2,3]' in inputs["data"].profile


def test_a_run_without_a_name_gets_one_that_is_known_at_once(stored: Callable[[], Stored]) -> None:
    with hs.run("exp", capture=False) as run:
        assert run.name
        assert repr(run.name) in repr(run)
    with hs.run("exp", id=run.id, capture=False):  # no other one for going on
        pass
    with hs.run("exp", tags={"mlflow.runName": "tagged"}, capture=False) as tagged:
        assert tagged.name == "tagged"
    found = stored()
    assert [found.runs[one.id].name for one in (run, tagged)] == [run.name, "tagged"]


def test_a_seed_is_set_and_noted(stored: Callable[[], Stored]) -> None:
    import random

    drawn = []
    state, numpy_state = random.getstate(), np.random.get_state()
    try:
        for _ in range(2):
            with hs.run("exp", seed=5, capture=False) as run:
                drawn.append((random.random(), np.random.random()))
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
    assert drawn[0] == drawn[1]
    assert stored().data[run.id].tags["homeostat.seed"] == "5"
