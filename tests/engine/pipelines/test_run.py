"""A pipeline executes what has changed and nothing else, survives being killed, and says what it did."""

from __future__ import annotations

import importlib.util
import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from homeostat.adapters.blobs.file import FileBlobs
from homeostat.adapters.clock import ManualClock
from homeostat.adapters.sql.ledger import SqlLedger
from homeostat.adapters.sql.store import SqlMetaStore
from homeostat.app.projects import importing
from homeostat.domain.declarations import pipeline, step
from homeostat.domain.errors import DeclarationError
from homeostat.domain.records import StepExecution
from homeostat.engine.pipelines.run import Result, run

START = datetime(2013, 1, 1, tzinfo=UTC)
SOURCE = """
import polars as pl
from homeostat.domain.declarations import pipeline, step

FACTOR = 2
CALLS = []

def twice(x):
    return FACTOR * x

def adder(n):
    def add(x):
        return x + n
    return add

plus = adder(1)
minus = adder(-1)

@step
def load(rows: int) -> pl.DataFrame:
    CALLS_NOTE("load")
    return pl.DataFrame({"x": list(range(rows))})

@step
def scale(frame: pl.DataFrame, by: int = 1) -> pl.DataFrame:
    CALLS_NOTE("scale")
    return frame.with_columns(pl.col("x") * twice(by) + plus(0) + minus(0))

@step
def total(frames):
    CALLS_NOTE("total")
    return {"sum": sum(int(frame["x"].sum()) for frame in frames), "parts": [frame for frame in frames]}

@pipeline
def nightly(rows: int = 4):
    frame = load(rows)
    return total([scale(frame), scale(frame, by=3)]), frame
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


class World:
    """A store, blobs, and a project whose source a test edits."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = SqlMetaStore(f"sqlite:///{root / 'store.db'}")
        self.blobs = FileBlobs(root / "blobs")
        self.calls: list[str] = []
        self.names = itertools.count()

    def load(self, source: str = SOURCE, **beside: str) -> ModuleType:
        # Another folder each time: a project may be checked out anywhere.
        folder = self.root / f"project{next(self.names)}"
        folder.mkdir()
        file = folder / "project.py"
        file.write_text(source)
        for name, text in beside.items():
            (folder / f"{name}.py").write_text(text)
        spec = importlib.util.spec_from_file_location("project", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        module.CALLS_NOTE = self.calls.append  # type: ignore[attr-defined]
        with importing(folder):
            spec.loader.exec_module(module)
        return module

    def run(self, target: Any, **params: Any) -> Result:
        self.calls.clear()
        return run(target, params, store=self.store, blobs=self.blobs, clock=ManualClock(START))


def test_a_run_gives_what_the_plain_call_gives_and_the_second_executes_nothing(world: World) -> None:
    project = world.load()
    plain, frame = project.nightly()
    found = world.run(project.nightly)
    assert world.calls == ["load", "scale", "scale", "total"]
    assert found.value[0]["sum"] == plain["sum"] == sum(2 * x + 6 * x for x in range(4))
    assert found.value[1].equals(frame)
    assert [one.step for one in found.executions] == ["load", "scale", "scale-2", "total"]
    assert {one.state for one in found.executions} == {"succeeded"}
    again = world.run(world.load().nightly, rows=4)
    assert world.calls == []
    assert {one.state for one in again.executions} == {"cached"}
    assert again.value[0]["parts"][1].equals(found.value[0]["parts"][1])


@pytest.mark.parametrize(
    ("before", "after", "executed"),
    [
        ("# nothing", "# nothing", []),
        ("def load(rows: int)", "# a comment\ndef load(rows: int)", []),
        ("by: int = 1", "by: int = 5", ["scale", "scale", "total"]),
        ("FACTOR = 2", "FACTOR = 3", ["scale", "scale", "total"]),
        ("return FACTOR * x", "return FACTOR * x + 0", ["scale", "scale"]),
        ("minus = adder(-1)", "minus = adder(-2)", ["scale", "scale", "total"]),
        ("list(range(rows))", "list(range(0, rows))", ["load"]),
    ],
)
def test_a_change_executes_what_depends_on_it(
    world: World, before: str, after: str, executed: list[str]
) -> None:
    world.run(world.load().nightly)
    world.run(world.load(SOURCE.replace(before, after).replace("@step\n# a comment", "@step")).nightly)
    assert world.calls == executed


def test_a_change_of_a_module_beside_it_executes_what_depends_on_it(world: World) -> None:
    source = SOURCE.replace("import polars as pl\n", "import polars as pl\nimport helpers\n")
    source = source.replace("twice(by)", "helpers.twice(by)")
    helpers = "def twice(x):\n    return FACTOR * x\n\nFACTOR = 2\n"
    first = world.run(world.load(source, helpers=helpers).nightly).value[0]["sum"]
    world.run(world.load(source, helpers=helpers).nightly)
    assert world.calls == []
    other = world.run(world.load(source, helpers=helpers.replace("2", "3")).nightly).value[0]["sum"]
    assert world.calls == ["scale", "scale", "total"]
    assert other == first * 3 / 2


def test_other_arguments_execute_again_and_the_old_ones_are_still_kept(world: World) -> None:
    project = world.load()
    world.run(project.nightly)
    world.run(project.nightly, rows=5)
    assert world.calls == ["load", "scale", "scale", "total"]
    world.run(project.nightly, rows=4)
    assert world.calls == []


def test_a_torn_or_missing_result_is_made_again(world: World) -> None:
    project = world.load()
    found = world.run(project.nightly)
    world.blobs.delete(found.executions[1].output)
    again = world.run(project.nightly)
    assert world.calls == ["scale"]
    assert again.value[0]["sum"] == found.value[0]["sum"]


def test_a_failing_step_is_recorded_and_what_came_before_is_kept(world: World) -> None:
    broken = SOURCE.replace('{"sum": sum(', '{"sum": 1 // 0 + sum(')
    with pytest.raises(ZeroDivisionError) as caught:
        world.run(world.load(broken).nightly)
    assert caught.value.__notes__ == ["in step 'total' of pipeline 'nightly'"]
    (failed,) = world.store.find(StepExecution, ("state", "=", "failed"))
    assert failed.error.startswith("ZeroDivisionError")
    assert failed.seconds is not None
    world.run(world.load().nightly)
    assert world.calls == ["total"]


def test_executions_are_events_with_the_edges_of_their_arguments(world: World) -> None:
    found = world.run(world.load().nightly)
    total = found.executions[-1]
    edges = SqlLedger(world.store).edges(f"step/{total.id}", "up")
    wanted = {f"step/{one.id}" for one in found.executions[1:3]} | {"pipeline/nightly"}
    assert {edge.source for edge in edges} == wanted
    assert [event.kind for event in SqlLedger(world.store).read()] == ["step.succeeded"] * 4


def test_progress_tells_of_beginning_and_end(world: World) -> None:
    told: list[tuple[str, str, int, int]] = []
    for _ in range(2):
        run(
            world.load().nightly,
            store=world.store,
            blobs=world.blobs,
            clock=ManualClock(START),
            progress=lambda one, number, of: told.append((one.step, one.state, number, of)),
        )
    assert told[:2] == [("load", "running", 1, 4), ("load", "succeeded", 1, 4)]
    assert told[8:] == [
        ("load", "cached", 1, 4),
        ("scale", "cached", 2, 4),
        ("scale-2", "cached", 3, 4),
        ("total", "cached", 4, 4),
    ]


class Handle:
    """A result that cannot be kept."""


@step(cache=False)
def connect() -> Handle:
    return Handle()


@step(cache=False)
def use(handle: Handle, rows: list[int]) -> int:
    return len(rows)


@step
def keep(handle: Handle) -> int:
    return 1


@step
def give() -> Handle:
    return Handle()


@step
def numbers() -> list[int]:
    return [3, 1, 2]


@step
def smallest(values: list[int]) -> int:
    values.sort()
    return values.pop(0)


def starred(*rows: int) -> int:
    return len(rows)


@step
def first(values: list[int]) -> int:
    return values[0]


def test_what_cannot_be_kept_runs_each_time_when_it_says_so(world: World) -> None:
    @pipeline
    def shapes() -> Any:
        return use(connect(), numbers())

    assert world.run(shapes).value == 3
    assert [one.state for one in world.run(shapes).executions] == ["succeeded", "cached", "succeeded"]


def test_runs_at_once_of_what_is_not_kept_leave_each_other_alone(world: World) -> None:
    @step(cache=False)
    def looks(again: bool) -> int:
        if again:
            run(inner, store=world.store, blobs=world.blobs, clock=ManualClock(START))
        return len(world.store.find(StepExecution, ("state", "=", "running")))

    @pipeline
    def inner(again: bool = False) -> int:
        return looks(again)

    assert world.run(inner, again=True).value == 1  # the other has ended; nobody called this one lost
    assert [one.state for one in world.store.find(StepExecution)] == ["succeeded", "succeeded"]
    assert [event.kind for event in SqlLedger(world.store).read()] == ["step.succeeded"] * 2


def test_what_cannot_be_kept_is_refused_by_the_name_of_its_step(world: World) -> None:
    @pipeline
    def gives() -> Any:
        return give()

    @pipeline
    def takes() -> Any:
        return keep(connect())

    with pytest.raises(
        DeclarationError, match=r"test_run.py:\d+: Step\('give'\): its result cannot be kept: it is a"
    ):
        world.run(gives)
    with pytest.raises(DeclarationError, match=r"Step\('keep'\): argument 'handle'.*cache=False"):
        world.run(takes)


def test_a_step_that_changes_its_argument_changes_nobody_elses(world: World) -> None:
    @pipeline
    def both() -> Any:
        values = numbers()
        return smallest(values), first(values)

    assert world.run(both).value == (1, 3)


def test_a_closure_is_told_from_another_of_the_same_text(world: World) -> None:
    def make(offset: Any) -> Any:
        @step
        def shift(x: int) -> int:
            return x + len(offset) if isinstance(offset, list) else x

        @pipeline
        def shifted() -> Any:
            return shift(1)

        return shifted

    assert world.run(make([1])).value == 2
    assert world.run(make([1, 2])).value == 3
    with pytest.raises(DeclarationError, match="'offset', which it closes over, is a Handle"):
        world.run(make(Handle()))


def test_declarations_complain_where_they_stand() -> None:
    @pipeline
    def looks() -> Any:
        return 1 if first([1]) else 2

    @pipeline
    def misuses() -> Any:
        return first()

    with pytest.raises(DeclarationError, match="known only when the pipeline runs"):
        looks.graph()
    with pytest.raises(DeclarationError, match="missing a required argument: 'values'"):
        misuses.graph()
    with pytest.raises(DeclarationError, match="unexpected keyword argument 'day'"):
        looks.graph(day=1)
    with pytest.raises(DeclarationError, match="parameters without names"):
        step(starred)
    with pytest.raises(DeclarationError, match="is no function"):
        step(len)


def test_a_step_outside_a_pipeline_is_its_function() -> None:
    assert first([7]) == 7
    assert first.file.endswith("test_run.py")
    assert first.ref.kind == "step"
    assert pl.DataFrame({"a": [1]}).pipe(lambda frame: first(frame["a"].to_list())) == 1


KILLED = """
import os, signal, sys
from datetime import datetime, timezone
from pathlib import Path
from homeostat.adapters.blobs.file import FileBlobs
from homeostat.adapters.clock import SystemClock
from homeostat.adapters.sql.store import SqlMetaStore
from homeostat.domain.declarations import pipeline, step
from homeostat.engine.pipelines.run import run

root = Path(sys.argv[1])

@step
def one() -> int:
    (root / "calls").open("a").write("one ")
    return 20

@step
def two(x: int) -> int:
    (root / "calls").open("a").write("two ")
    if not (root / "second").exists():
        (root / "second").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x + 1

@pipeline
def both():
    return two(one())

store = SqlMetaStore(f"sqlite:///{root / 'store.db'}")
print(run(both, store=store, blobs=FileBlobs(root / "blobs"), clock=SystemClock()).value)
store.close()
"""


def test_killed_in_a_step_the_next_run_goes_on_from_there(tmp_path: Path) -> None:
    script = tmp_path / "project.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(tmp_path)]
    first_run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first_run.returncode == -signal.SIGKILL, first_run.stderr
    second_run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second_run.stdout == "21\n", second_run.stderr
    assert (tmp_path / "calls").read_text() == "one two two "
    store = SqlMetaStore(f"sqlite:///{tmp_path / 'store.db'}")
    states = {(one.step, one.state) for one in store.find(StepExecution)}
    kinds = [event.kind for event in SqlLedger(store).read()]
    store.close()
    assert kinds == ["step.succeeded", "step.cached", "step.failed", "step.succeeded"]
    assert states == {("one", "succeeded"), ("one", "cached"), ("two", "failed"), ("two", "succeeded")}
