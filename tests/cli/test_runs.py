"""`homeostat sync` and `homeostat runs`: what was tracked without a server, from the command line and as a frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import homeostat as hs
from tests.cli.invoking import Shell
from tests.server.ups import Up

pytestmark = pytest.mark.slow

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def tracked(homeostat: Shell, monkeypatch: pytest.MonkeyPatch) -> list[hs.Run]:
    """Three runs that wait in the spool of the folder's home."""
    monkeypatch.setenv("HOMEOSTAT_SERVER", NOBODY)
    runs = []
    for number, loss in enumerate([0.5, 0.25, 0.25]):
        with hs.run("exp", name=f"run {number}", params={"depth": number, "same": 1}, capture=False) as run:
            for step in range(4):
                hs.log(loss=loss + 3 - step, step=step)
        runs.append(run)
    monkeypatch.delenv("HOMEOSTAT_SERVER")
    return runs


def test_runs_without_a_server(homeostat: Shell, tracked: list[hs.Run]) -> None:
    assert homeostat("sync").out.count("sent") == 3
    assert "Nothing waits" in homeostat("sync").out
    listed = homeostat("runs", "ls", "--json").json
    assert [run["id"] for run in listed] == [run.id for run in reversed(tracked)]
    said = homeostat("runs", "ls", "-f", "metrics.loss < 0.3", "-o", "params.depth ASC").out
    assert "run 1" in said
    assert "run 0" not in said
    assert said.splitlines()[0].split() == [
        "run",
        "name",
        "experiment",
        "state",
        "began",
        "loss",
        "depth",  # and not what is the same in all of them
    ]
    shown = homeostat("runs", "show", tracked[0].id[:8]).out
    assert f"run/{tracked[0].id} 'run 0' of exp: succeeded" in shown
    assert homeostat("runs", "show", tracked[0].id, "--json").json["params"] == {"depth": "0", "same": "1"}
    differ = homeostat("runs", "diff", tracked[0].id, tracked[1].id, "--json").json["differences"]
    assert [(one["kind"], one["name"], one["a"], one["b"]) for one in differ] == [
        ("param", "depth", "0", "1"),
        ("metric", "loss", 0.5, 0.25),
    ]
    assert "depth" in homeostat("runs", "diff", tracked[0].id, tracked[1].id).out
    assert "do not differ" in homeostat("runs", "diff", tracked[0].id, tracked[0].id).out


def test_the_best_run(homeostat: Shell, tracked: list[hs.Run]) -> None:
    said = homeostat("runs", "best", "loss", "--filter", "params.depth != '9'").out
    assert (
        f"run/{tracked[1].id} has the least loss, 0.25, of 3 runs. 1 other run has exactly the same" in said
    )
    assert tracked[2].id in said
    assert homeostat("runs", "best", "loss", "--goal", "max", "--json").json["run"]["id"] == tracked[0].id
    outcome = homeostat("runs", "best", "acc", status=1)
    assert "none of 3 runs has a value of metric 'acc'" in outcome.err
    assert "Name one that they have: loss" in outcome.err
    assert "No run is like that" in homeostat("runs", "ls", "-f", "metrics.acc > 0").out


def test_values_are_shown(homeostat: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMEOSTAT_SERVER", NOBODY)
    truth, scores = [0, 1, 1, 0], [0.2, 0.9, 0.4, 0.3]
    with hs.run("exp", capture=False) as run:
        hs.log(picture=hs.Image([[0.0, 0.5], [0.5, 1.0]], caption="grey"), tone=hs.Audio([0.0] * 800, 8000))
        hs.log({"val/roc": hs.Curve.roc(truth, scores), "spread": hs.Histogram([1, 2, 3, 4], bins=2)})
        hs.log(
            right=hs.ConfusionMatrix(["a", "b", "b"], ["a", "b", "a"]), rows=hs.Table([{"a": 1}, {"a": 2}])
        )
        for step in range(3):
            hs.log(said=f"at {step}\nmore", step=10 + step)
        run.log_text("{}", "values/said/000000000020-1-0001.json")
        run.log_text("no value", "values/notes.txt")
    monkeypatch.delenv("HOMEOSTAT_SERVER")
    shown = homeostat("runs", "show", run.id).out
    for words in (
        "image of 2 × 2: grey",
        "audio of 0.1 s at 8,000 Hz",
        "points, true positive rate by false positive rate",
        "histogram of 4, 1 to 4, mean 2.5",
        "confusion matrix of 2 classes, 3 answers, 66.7% right",
        "table of 2 × 1: a",
    ):
        assert words in shown
    told = {one["key"]: one for one in homeostat("runs", "show", run.id, "--json").json["values"]}
    assert sorted(told) == ["picture", "right", "rows", "said", "spread", "tone", "val/roc"]
    assert (told["said"]["told"], told["said"]["step"]) == ("text: at 2 more", 12)
    assert told["rows"]["file"].endswith(".parquet")
    assert told["rows"]["detail"] == {}
    assert homeostat("runs", "show", run.id, "--value", "rows", "--json").json["detail"]["first"] == [
        [1],
        [2],
    ]
    matrix = homeostat("runs", "show", run.id, "--value", "right").out.split()
    assert matrix[-9:] == ["truth", "a", "b", "a", "1", "0", "b", "1", "1"]
    assert "It is a file: homeostat runs files" in homeostat("runs", "show", run.id, "--value", "picture").out
    assert "no value 'roc'" in homeostat("runs", "show", run.id, "--value", "roc", status=1).err


@pytest.mark.parametrize("served", [False, True])
def test_files_are_listed_and_fetched(
    homeostat: Shell, monkeypatch: pytest.MonkeyPatch, served: bool
) -> None:
    monkeypatch.setenv("HOMEOSTAT_SERVER", NOBODY)
    with hs.run("exp", capture=False) as run:
        run.log_text("why not", "notes/why.txt")
        run.log_text("thus", "notes/deep/how.txt")
        run.log_text("x" * 2000, "long.txt")
    with hs.run("exp", capture=False) as other:
        hs.log(loss=1)
    monkeypatch.delenv("HOMEOSTAT_SERVER")
    assert "sent" in homeostat("sync").out
    up = Up(homeostat.folder / ".homeostat").ready() if served else None
    try:
        rows = [line.split() for line in homeostat("runs", "files", run.id[:8]).out.splitlines()[1:]]
        assert rows == [["long.txt", "2,000"], ["notes/deep/how.txt", "4"], ["notes/why.txt", "7"], []]
        assert homeostat("runs", "files", run.id, "notes/deep/", "--json").json == [
            {"path": "notes/deep/how.txt", "size": 4}
        ]
        homeostat("runs", "files", run.id, "notes/why.txt", "--out", "why.txt")
        assert (homeostat.folder / "why.txt").read_text() == "why not"
        assert "there already" in homeostat("runs", "files", run.id, "x", "--out", "why.txt", status=1).err
        gone = homeostat("runs", "files", run.id, "x", "--out", "x", status=1).err
        assert f"x of run/{run.id} cannot be had" in gone
        assert f"homeostat runs files {run.id[:8]} for those there are" in " ".join(gone.split())
        assert not (homeostat.folder / "x").exists()
        assert "is a folder" in homeostat("runs", "files", run.id, "notes", "--out", "x", status=1).err
        assert "has no files" in homeostat("runs", "files", other.id).out
        assert "is for one file" in homeostat("runs", "files", other.id, "--out", "x", status=1).err
    finally:
        if up is not None:
            up.stop()


def test_nan_is_not_the_same_as_no_value(homeostat: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMEOSTAT_SERVER", NOBODY)
    with hs.run("exp", capture=False) as run:
        hs.log(loss=math.nan)
    with hs.run("exp", capture=False):
        hs.log(rate=0.1)
    monkeypatch.delenv("HOMEOSTAT_SERVER")
    assert ["loss", "NaN"] in [line.split() for line in homeostat("runs", "show", run.id).out.splitlines()]
    first, second = homeostat("runs", "ls", "-o", "start_time ASC").out.splitlines()[1:3]
    assert first.split()[-1] == "NaN"
    assert "NaN" not in second


def test_infinities_stay_what_they_are(homeostat: Shell, up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMEOSTAT_SERVER", up.note.server)
    with hs.run("infinite", axes={"loss": "up"}, capture=False) as run:
        hs.log(loss=-math.inf, up=math.inf, nan=math.nan)
        hs.log(loss=1.0, step=0)
    values = {"metrics.loss": [1.0], "metrics.nan": [None], "metrics.up": [math.inf]}
    monkeypatch.setenv("HOMEOSTAT_HOME", str(homeostat.folder / "elsewhere"))
    points = homeostat.folder / "points.parquet"
    for there in (up.note.server, ""):  # asked of the server, and read from its store
        if not there:
            up.stop()
            monkeypatch.setenv("HOMEOSTAT_HOME", str(up.home))
            monkeypatch.delenv("HOMEOSTAT_SERVER")
        found = hs.search(f"attributes.run_id = '{run.id}'")
        assert {name: found[name].to_list() for name in values} == values
        assert hs.best("up", goal="max", experiments="infinite").value == math.inf
        history = hs.history(run, "loss")
        assert sorted(zip(history["value"], history["at"], strict=True)) == [
            (-math.inf, math.inf),
            (1.0, math.inf),
        ]
        assert homeostat("runs", "show", run.id, "--json").json["metrics"]["up"] == "Infinity"
        assert ["up", "inf"] in [line.split() for line in homeostat("runs", "show", run.id).out.splitlines()]
        homeostat("runs", "export", str(points), "--points", "-e", "infinite")
        told = pl.read_parquet(points).filter(metric="loss")["value"].to_list()
        assert sorted(told) == [-math.inf, 1.0]


def test_export(homeostat: Shell, tracked: list[hs.Run]) -> None:
    assert "3 runs" in homeostat("runs", "export", "runs.parquet").out
    assert pl.read_parquet(homeostat.folder / "runs.parquet")["params.depth"].to_list() == ["2", "1", "0"]
    homeostat("runs", "export", "runs.csv", "-e", "exp")
    homeostat("runs", "export", "runs.json")
    done = homeostat("runs", "export", "points.parquet", "--points")
    assert "12 points" in done.out
    assert len(done.err.splitlines()) == 4
    points = pl.read_parquet(homeostat.folder / "points.parquet")
    mine = points.filter(run=tracked[0].id)
    assert mine.select("value", "axis", "at").rows()[::3] == [(3.5, "step", 0.0), (0.5, "step", 3.0)]
    assert "Name a .parquet" in homeostat("runs", "export", "runs.txt", status=1).err


def test_runs_are_deleted_and_restored(homeostat: Shell, tracked: list[hs.Run]) -> None:
    first, *others = (run.id for run in tracked)
    assert "brings it back" in homeostat("runs", "delete", *others).out
    assert [run["id"] for run in homeostat("runs", "ls", "--json").json] == [first]
    assert len(homeostat("runs", "ls", "--deleted", "--json").json) == 2
    assert "deleted; homeostat runs restore" in homeostat("runs", "show", others[0]).out
    assert "Restored" in homeostat("runs", "restore", others[0][:8]).out
    assert "deleted" not in homeostat("runs", "show", others[0]).out
    assert len(homeostat("runs", "ls", "--json").json) == 2
    assert "not found" in homeostat("runs", "delete", first, "none", status=1).err
    assert len(homeostat("runs", "ls", "--json").json) == 2


def test_nothing_tracked_yet(homeostat: Shell) -> None:
    assert "hs.run" in homeostat("runs", "ls").out
    assert "Nothing waits" in homeostat("sync").out
    assert homeostat("sync", "--json").json == []
    assert "error: " in homeostat("runs", "ls", "-f", "loss <", status=1).err
    assert "error: " in homeostat("runs", "show", "none", status=1).err


def test_a_frame(homeostat: Shell, tracked: list[hs.Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMEOSTAT_SERVER", NOBODY)
    frame = hs.search("params.same = '1'", experiments="exp", order_by="metrics.loss ASC")
    assert frame["params.depth"].to_list() == ["2", "1", "0"]
    assert frame["metrics.loss"].to_list() == [0.25, 0.25, 0.5]
    assert frame["started_at"].dtype == pl.Datetime("us", "UTC")
    assert hs.search(limit=2).height == 2
    assert hs.search("params.same = 'none'").columns[:3] == ["id", "name", "experiment"]
    assert hs.best("loss", goal="max").run.id == tracked[0].id


@pytest.fixture
def up(homeostat: Shell) -> Iterator[Up]:
    running = Up(homeostat.folder / ".homeostat").ready()
    yield running
    running.stop()


def test_the_same_with_a_server(
    homeostat: Shell, up: Up, tracked: list[hs.Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "Nothing waits" not in homeostat("sync").out
    assert [run["id"] for run in homeostat("runs", "ls", "--json").json] == [
        run.id for run in reversed(tracked)
    ]
    assert homeostat("runs", "best", "loss", "--json").json["ties"] == [tracked[2].id]
    assert "12 points" in homeostat("runs", "export", "points.csv", "--points").out
    assert homeostat("runs", "show", tracked[1].id, "--json").json["values"] == []
    homeostat("runs", "delete", tracked[1].id)
    assert homeostat("runs", "show", tracked[1].id, "--json").json["deleted"]
    homeostat("runs", "restore", tracked[1].id)
    monkeypatch.setenv("HOMEOSTAT_SERVER", up.note.server)
    monkeypatch.setenv("HOMEOSTAT_HOME", str(tmp_path / "elsewhere"))
    assert hs.search().height == 3
    best = hs.best("loss")
    assert (best.value, repr(best)) == (0.25, best.explanation)
    with hs.run("exp", capture=False) as outer, hs.run("exp", capture=False) as inner:
        for step in range(3):
            inner.log(loss=9.0 - step, step=step)
            outer.log(seen=hs.search("metrics.loss > 3").height)
            assert hs.history(inner, "loss")["value"].to_list()[-1] == 9.0 - step
    assert hs.search(f"attributes.run_id = '{inner.id}'")["name"].to_list() == [inner.name]
    assert hs.history(outer, "seen")["value"].to_list() == [1.0] * 3
    with hs.run("exp", id=tracked[0].id, capture=False):
        hs.log(loss=7.0, rows=hs.Table([{"a": 1}, {"a": 2}]))
    table = homeostat("runs", "show", tracked[0].id, "--value", "rows").out.splitlines()
    assert table[2:5] == ["a", "1", "2"]
    found = hs.search(f"attributes.run_id = '{tracked[0].id}'")
    assert found["metrics.loss"].to_list() == [7.0]
    with pytest.raises(hs.BadRequest):
        hs.search("loss <")
