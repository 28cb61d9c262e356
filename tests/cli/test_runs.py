"""`homeostat sync` and `homeostat runs`: what was tracked without a server, from the command line and as a frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import homeostat as hs
from tests.cli.invoking import Shell
from tests.server.ups import Up

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
        "depth",
        "same",
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


def test_export(homeostat: Shell, tracked: list[hs.Run]) -> None:
    assert "3 runs" in homeostat("runs", "export", "runs.parquet").out
    assert pl.read_parquet(homeostat.folder / "runs.parquet")["params.depth"].to_list() == ["2", "1", "0"]
    homeostat("runs", "export", "runs.csv", "-e", "exp")
    homeostat("runs", "export", "runs.json")
    assert "12 points" in homeostat("runs", "export", "points.parquet", "--points").out
    points = pl.read_parquet(homeostat.folder / "points.parquet")
    mine = points.filter(run=tracked[0].id)
    assert mine.select("value", "axis", "at").rows()[::3] == [(3.5, "step", 0.0), (0.5, "step", 3.0)]
    assert "Name a .parquet" in homeostat("runs", "export", "runs.txt", status=1).err


def test_runs_are_deleted_and_restored(homeostat: Shell, tracked: list[hs.Run]) -> None:
    first, *others = (run.id for run in tracked)
    assert "brings it back" in homeostat("runs", "delete", *others).out
    assert [run["id"] for run in homeostat("runs", "ls", "--json").json] == [first]
    assert len(homeostat("runs", "ls", "--deleted", "--json").json) == 2
    assert "Restored" in homeostat("runs", "restore", others[0][:8]).out
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
    homeostat("runs", "delete", tracked[1].id)
    assert homeostat("runs", "show", tracked[1].id, "--json").json["deleted"]
    homeostat("runs", "restore", tracked[1].id)
    monkeypatch.setenv("HOMEOSTAT_SERVER", up.note.server)
    monkeypatch.setenv("HOMEOSTAT_HOME", str(tmp_path / "elsewhere"))
    assert hs.search().height == 3
    assert hs.best("loss").value == 0.25
    with hs.run("exp", id=tracked[0].id, capture=False):
        hs.log(loss=7.0)
    found = hs.search(f"attributes.run_id = '{tracked[0].id}'")
    assert found["metrics.loss"].to_list() == [7.0]
    with pytest.raises(hs.BadRequest):
        hs.search("loss <")
