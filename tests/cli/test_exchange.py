"""`homeostat import` and `homeostat export`: what they print, and how they end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adapters.sources import places
from tests.cli.invoking import Shell


def test_import_shows_what_came(homeostat: Shell, tmp_path: Path) -> None:
    place = places.mlruns(tmp_path / "theirs")
    told = homeostat("import", place, "--dry-run").out
    assert "MLflow folder      would come  completed  here already" in told
    assert "runs               6           0          0" in told
    done = homeostat("import", place).out
    assert "runs               6     0          0" in done
    assert "files of" in done
    assert "Not, or not as it was:" in done
    assert "its traces, 1 of them, are not imported" in done
    again = homeostat("import", tmp_path / "theirs").out  # the folder that mlruns is in will do
    assert "runs               0     0          6" in again
    assert "0 points and 0 files of 0 bytes came." in again


def test_import_as_json(homeostat: Shell, tmp_path: Path) -> None:
    done = homeostat("import", f"sqlite:///{places.database(tmp_path / 'theirs')}", "--json").json
    assert done["source"] == "MLflow database"
    assert done["runs"] == {"new": 6, "completed": 0, "same": 0}
    assert done["versions"]["new"] == 2
    assert done["failed"] == 0
    assert done["notes"][0]["count"] == 1


def test_what_could_not_come_is_told_and_counts_as_a_failure(homeostat: Shell, tmp_path: Path) -> None:
    place = places.mlruns(tmp_path / "theirs")
    next(place.glob("*/*/metrics/x")).write_text("no point\n")
    done = homeostat("import", place, status=1)
    assert "runs               5     0          0" in done.out
    assert "line 1 is no point: 'no point'" in done.out
    assert homeostat("import", place, "--json", status=1).json["failed"] == 1


def test_a_run_that_could_not_come_is_told_first_and_notes_alike_together(
    homeostat: Shell, tmp_path: Path
) -> None:
    (events,) = (path.read_bytes() for path in (places.tensorboard(tmp_path) / "other" / "tried").iterdir())
    place = tmp_path / "many"
    for number in range(120):
        (place / f"{number:03}").mkdir(parents=True)
        (place / f"{number:03}" / "events.out.tfevents.1.host").write_bytes(
            events + bytes(3) if number else b""
        )
    done = homeostat("import", place, status=1)
    failed, _, others = done.out.partition("Not, or not as it was:")
    assert "Could not come:\n  run 000: " in failed
    assert "it holds no event" in failed
    assert others.count("it ends in the middle of a record, which was left out") == 4
    assert "  … and 116 more: it ends in the middle" in others
    best = homeostat("runs", "best", "m").out
    assert "118 other runs have exactly the same" in best
    assert ", and 98 more\n" in best
    assert done.err.splitlines() == [f"{number} of 120 runs" for number in range(12, 121, 12)]


def test_an_import_that_is_stopped_says_how_to_go_on(
    homeostat: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = places.mlruns(tmp_path / "theirs")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("homeostat.app.importing.tracking.bring_logged_model", stop)
    done = homeostat("import", place, status=130)
    assert "Stopped. What came stays; the same import again brings the rest." in done.err
    monkeypatch.undo()
    monkeypatch.chdir(homeostat.folder)
    assert "runs               0     0          6" in homeostat("import", place).out


def test_links_and_the_format_are_options(homeostat: Shell, tmp_path: Path) -> None:
    place = places.wandb(tmp_path / "theirs")
    (place.parent / "saved.bin").write_bytes(b"weights")
    (next(place.glob("*-failed01")) / "files" / "saved.bin").symlink_to(place.parent / "saved.bin")
    without = homeostat("import", place).out
    assert "--links follows it" in without
    done = homeostat("import", place, "--links", "--from", "wandb", "--json").json
    assert (done["files"], done["runs"]["completed"]) == (1, 1)


def test_places_that_are_none(homeostat: Shell, tmp_path: Path) -> None:
    assert "there is no" in homeostat("import", tmp_path / "nowhere", status=1).err
    (tmp_path / "empty").mkdir()
    complaint = homeostat("import", tmp_path / "empty", status=1).err
    assert "nothing in" in complaint
    assert "do: Name an mlruns folder" in complaint


def test_export_and_import_elsewhere(homeostat: Shell, tmp_path: Path) -> None:
    homeostat("import", places.database(tmp_path / "theirs"))
    written = homeostat("export", "out", "--deleted").out
    assert "runs               6        0          0" in written
    there = homeostat("import", "out", "--home", tmp_path / "there", "--json").json
    assert there["source"] == "Homeostat export"
    assert there["runs"]["new"] == 6
    assert there["notes"] == []
    part = homeostat("export", "part", "-e", "first", "-f", "metrics.loss < 0.5", "--json").json
    assert (part["runs"]["new"], part["experiments"]["new"]) == (1, 1)
    id = next((tmp_path / "part" / "runs").iterdir()).name
    one = homeostat("export", "one", "--run", id[:8], "--json").json
    assert one["runs"]["new"] == 1


def test_export_of_what_is_not_there(homeostat: Shell, tmp_path: Path) -> None:
    assert (
        "there is no experiment 'nowhere'"
        in homeostat("export", "out", "--experiment", "nowhere", status=1).err
    )
    assert "not found" in homeostat("export", "out", "--run", "nothing", status=1).err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "text").write_text("mine")
    assert "is there and is no export" in homeostat("export", "mine", status=1).err


def test_a_server_elsewhere_is_not_the_store(homeostat: Shell, tmp_path: Path) -> None:
    place = places.tensorboard(tmp_path / "theirs")
    complaint = homeostat("import", place, "--server", "http://elsewhere:5000", status=1).err
    assert "on the store itself, not through http://elsewhere:5000" in complaint
