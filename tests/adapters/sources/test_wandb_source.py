"""Runs of W&B, as W&B wrote them; whole, cut off and damaged."""

from __future__ import annotations

import math
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from homeostat.adapters.sources import messages, open_source, wandb_values
from homeostat.adapters.sources.framing import wandb_records
from homeostat.domain.errors import BadRequest
from homeostat.ports.sources import Missing
from tests.adapters.sources.places import files, points, runs, wandb


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return wandb(tmp_path)


def log_of(folder: Path, id: str) -> Path:
    return next(folder.glob(f"*/run-{id}.wandb"))


def test_runs_by_project(folder: Path) -> None:
    source = open_source(str(folder))
    assert [item.load().name for item in source.experiments()] == ["demo"]
    assert source.count() == 3
    found = runs(source)
    assert {name: run.run.id for name, run in found.items()} == {
        "brave": "abcd1234",
        "fails": "failed01",
        "long0001": "long0001",
    }
    assert {run.run.state for run in found.values()} == {"succeeded", "failed"}
    assert found["fails"].run.state == "failed"
    brave = found["brave"].run
    assert brave.actor == "ana"
    assert brave.started_at is not None
    assert brave.ended_at is not None
    assert brave.started_at < brave.ended_at


def test_settings_and_marks(folder: Path) -> None:
    brave = runs(open_source(str(folder)))["brave"]
    assert brave.params == {
        "lr": "0.1",
        "layers": "[1,2]",
        "opt.name": "adam",
        "opt.eps": "1e-08",
        "flag": "True",
        "none": "None",
        "late": "5",
    }
    assert brave.tags["wandb.tags"] == "a,b"
    assert brave.tags["homeostat.group"] == "g1"
    assert brave.tags["mlflow.note.content"] == "some notes"
    assert brave.tags["wandb.summary.verdict"] == "good"
    assert brave.mark == {"wandb.run": "abcd1234", "wandb.project": "demo", "wandb.entity": "ana-team"}
    assert brave.mark.items() <= brave.tags.items()


def test_points_with_their_steps(folder: Path) -> None:
    found = points(runs(open_source(str(folder)))["brave"])
    own = {key for key in found if not key.startswith("system/")}
    assert own == {"loss", "val.acc", "acc@1", "ok", "nan", "inf", "best"}
    assert any(key.startswith("system/") for key in found)
    assert [(value, step) for value, _, step in found["loss"]] == [(1 / (n + 1), n) for n in range(20)]
    assert [value for value, _, _ in found["val.acc"]] == [n / 20 for n in range(20)]
    assert found["ok"][0][0] == 1.0
    assert (found["nan"][0][0], found["nan"][0][2]) == ("NaN", 30)
    assert found["inf"][0][0] == math.inf
    assert found["best"][0][0] == 0.9  # it stands in the summary alone
    times = [at for _, at, _ in found["loss"]]
    assert times == sorted(times)
    assert times[0] > 1_700_000_000_000


def test_what_is_no_number_is_shown_and_the_log_comes_along(folder: Path) -> None:
    brave = runs(open_source(str(folder)))["brave"]
    found = files(brave)
    told = [
        msgspec.json.decode(found[path]) for path in found if path.startswith("values/") and ".json" in path
    ]
    shown = {one["key"]: one for one in told}
    assert {key: one["type"] for key, one in shown.items()} == {
        "text": "text",
        "hist": "histogram",
        "image": "image",
        "table": "table",
    }
    assert len(told) == 23
    assert len(shown["hist"]["edges"]) == len(shown["hist"]["counts"]) + 1
    assert found[shown["image"]["file"]].startswith(b"\x89PNG")
    assert pl.read_parquet(found[shown["table"]["file"]]).rows() == [(1,)]
    assert brave.missing == []
    assert found["wandb/run-abcd1234.wandb"] == log_of(folder, "abcd1234").read_bytes()
    assert "requirements.txt" in found


def record(what: Any) -> bytes:
    """A message as a record of a log that it does not bring into another block."""
    data: bytes = what.SerializeToString()
    return struct.pack("<IHB", zlib.crc32(b"\x01" + data), len(data), 1) + data


def test_axes_and_what_nothing_here_shows(folder: Path) -> None:
    path = log_of(folder, "failed01")
    kind = messages.wandb("Record")
    added = [
        kind(metric={"name": "acc", "step_metric": "epoch"}),
        kind(metric={"glob_name": "val/*", "step_metric": "e"}),
    ]
    added += [kind(metric={"glob_name": "*", "step_metric": "_timestamp"}), kind(metric={"name": "epoch"})]
    history = kind()
    for key, value in (
        ("_step", 7),
        ("video", {"_type": "video-file"}),
        ("gone", {"_type": "image-file", "path": "x"}),
        ("shape", [1, 2, 3]),
    ):
        history.history.item.add(key=key, value_json=msgspec.json.encode(value).decode())
    with path.open("ab") as file:
        file.write(b"".join(map(record, (*added, history))))
    found = runs(open_source(str(path)))["fails"]
    axes = {name: axis for name, axis in found.tags.items() if name.startswith("homeostat.axis")}
    assert axes == {"homeostat.axis.acc": "epoch", "homeostat.axis.val": "e", "homeostat.axis": "time"}
    assert "that nothing here shows, 2 of them" in found.missing[-2].reason
    assert "lists among its metrics, 1 of them, stay in wandb/run-failed01.wandb" in found.missing[-1].reason
    assert not [name for name in files(found) if name.startswith("values/")]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (
            {"_type": "histogram", "values": [1, 2], "packedBins": {"min": 0, "size": 0.5, "count": 2}},
            [0, 0.5, 1],
        ),
        ({"_type": "histogram", "values": [1, 2], "bins": [0, 1]}, None),
        ({"_type": "histogram", "values": "many", "bins": []}, None),
        ({"_type": "image-file", "path": "../../secret.png"}, None),
        ({"_type": "images/separated", "filenames": ["a.png", "b.png"], "captions": ["A", "B"]}, ["A", "B"]),
        ({"_type": "images/separated", "filenames": ["a.png", "none.png"]}, None),
        ({"_type": "audio", "audio": [{"_type": "audio-file", "path": "a.png", "caption": "c"}]}, ["c"]),
        ({"_type": "table-file", "path": "damaged.json"}, None),
        ({"_type": ["list"]}, None),
    ],
)
def test_values_in_the_forms_that_there_are(tmp_path: Path, value: dict[str, Any], shown: Any) -> None:
    (tmp_path / "secret.png").touch()
    folder = tmp_path / "run" / "files"
    folder.mkdir(parents=True)
    for name in ("a.png", "b.png", "damaged.json"):
        (folder / name).write_bytes(b"{")
    found = wandb_values.shown_of("key", value, folder)
    assert [one.detail.get("edges") or one.detail["caption"] for one in found] == (
        [shown] if shown and found[0].type == "histogram" else shown or []
    )


def test_a_table_with_numbers_that_json_lacks(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"columns":["x","n"],"data":[[NaN,1],[Infinity,2],[0.5,null]]}')
    (found,) = wandb_values.shown_of("key", {"_type": "table-file", "path": "t.json"}, tmp_path)
    kept = pl.read_parquet(found.content)
    assert [math.isnan(kept["x"][0]), *kept["x"][1:], *kept["n"]] == [True, math.inf, 0.5, 1, 2, None]
    assert found.detail["first"] == [["nan", 1], ["inf", 2], [0.5, None]]


def test_a_record_of_several_blocks(folder: Path) -> None:
    path = log_of(folder, "long0001")
    assert path.stat().st_size > 4 * 32_768
    found = points(runs(open_source(str(path)))["long0001"])
    assert [(value, step) for value, _, step in found["x"]] == [(1.0, 0), (2.0, 1)]


def test_any_part_of_a_log_is_read_up_to_where_it_ends(folder: Path) -> None:
    path = log_of(folder, "abcd1234")
    whole = path.read_bytes()
    everything = list(wandb_records(path, []))
    for length in [*range(7, 400), *range(400, len(whole), 97)]:
        path.write_bytes(whole[:length])
        missing: list[Missing] = []
        found = list(wandb_records(path, missing))
        assert found == everything[: len(found)]
        assert len(missing) <= 1
        assert all("ends in the middle" in reason for _, reason in missing)


def test_a_run_that_was_killed_is_one_that_failed(folder: Path) -> None:
    path = log_of(folder, "abcd1234")
    path.write_bytes(path.read_bytes()[:7000])
    run = runs(open_source(str(path)))["brave"]
    assert (run.run.state, run.run.error) == ("failed", "W&B saw no end of it")
    assert 0 < len(points(run)["loss"]) < 20


def test_a_damaged_block_costs_no_other(folder: Path) -> None:
    path = log_of(folder, "long0001")
    everything = list(wandb_records(path, []))
    data = bytearray(path.read_bytes())
    data[40_000] ^= 0xFF
    path.write_bytes(data)
    missing: list[Missing] = []
    record = messages.wandb("Record")
    found = [record.FromString(data) for data in wandb_records(path, missing)]
    assert [reason for _, reason in missing] == ["a block of it is damaged, and its records were left out"]
    kept = [item.value_json for one in found for item in one.history.item if list(item.nested_key) == ["x"]]
    assert kept[-1] == "2"
    assert len(found) < len(everything)


def test_what_is_no_log(folder: Path) -> None:
    log_of(folder, "failed01").write_bytes(b"something else")
    log_of(folder, "long0001").write_bytes(b"")
    told = []
    for item in open_source(str(folder)).runs():
        try:
            item.load()
        except BadRequest as error:
            told.append(error.message.partition("cannot be read: ")[2])
    assert told == ["it is no file of W&B", "it is no file of W&B"]


def test_a_log_that_has_no_run_yet_makes_no_experiment(folder: Path) -> None:
    for log in list(folder.glob("*/*.wandb")):
        log.write_bytes(log.read_bytes()[:7])  # what W&B writes at once: which form of log this is
    source = open_source(str(folder))
    assert list(source.experiments()) == []
    for item in source.runs():
        with pytest.raises(BadRequest, match="has written nothing of its run into it, or not yet"):
            item.load()


def test_a_run_that_was_resumed_comes_in_order(folder: Path) -> None:
    first = log_of(folder, "abcd1234").parent
    shutil.copytree(first, folder / "offline-run-20990101_000000-abcd1234")
    shutil.copytree(first, folder / "run-20000101_000000-abcd1234")
    names = [item.name for item in open_source(str(folder)).runs()]
    assert names == ["run abcd1234", "run abcd1234", "run failed01", "run long0001", "run abcd1234"]


def test_a_later_session_of_a_run_keeps_files_of_its_own(folder: Path) -> None:
    first = log_of(folder, "abcd1234").parent
    (first / "files" / "output.log").write_text("first\n")
    again = folder / "offline-run-20990101_000000-abcd1234"
    shutil.copytree(first, again)
    (again / "files" / "output.log").write_text("second\n")
    (again / "files" / "new.txt").write_text("new")
    one, two = (
        files(item.load()) for item in open_source(str(folder)).runs() if item.name.endswith("abcd1234")
    )
    assert (one["output.log"], two[f"wandb/{again.name}/output.log"]) == (b"first\n", b"second\n")
    assert two["new.txt"] == b"new"
    assert f"wandb/{again.name}/run-abcd1234.wandb" in two
    # The same under the same name, and nothing else: an import brings the files of both.
    assert {path for path in one.keys() & two.keys() if one[path] != two[path]} == set()
    assert not one.keys() & {"new.txt", f"wandb/{again.name}/output.log"}


def test_links_to_what_a_user_saved(folder: Path) -> None:
    saved = folder.parent / "model.bin"
    saved.write_bytes(b"weights")
    (log_of(folder, "failed01").parent / "files" / "model.bin").symlink_to(saved)
    run = runs(open_source(str(folder)))["fails"]
    assert "model.bin" not in files(run)
    assert "--links follows it" in run.missing[0].reason
    assert files(runs(open_source(str(folder), links=True))["fails"])["model.bin"] == b"weights"
