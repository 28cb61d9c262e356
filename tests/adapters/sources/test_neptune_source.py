"""Exports of Neptune: files of the columns that neptune-exporter documents."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from homeostat.adapters.sources import neptune, open_source
from homeostat.domain.errors import BadRequest
from homeostat.ports.sources import Missing
from tests.adapters.sources.places import files, points, runs

AT = datetime(2025, 3, 1, 12, tzinfo=UTC)
SCHEMA: dict[str, Any] = {
    "project_id": pl.String,
    "run_id": pl.String,
    "attribute_path": pl.String,
    "attribute_type": pl.String,
    "step": pl.Decimal(18, 6),
    "timestamp": pl.Datetime("ms", "UTC"),
    "int_value": pl.Int64,
    "float_value": pl.Float64,
    "string_value": pl.String,
    "bool_value": pl.Boolean,
    "datetime_value": pl.Datetime("ms", "UTC"),
    "string_set_value": pl.List(pl.String),
    "file_value": pl.Struct({"path": pl.String}),
    "histogram_value": pl.Struct(
        {"type": pl.String, "edges": pl.List(pl.Float64), "values": pl.List(pl.Float64)}
    ),
}


def row(path: str, kind: str, value: Any, *, step: str | None = None, run: str = "RUN-1") -> dict[str, Any]:
    column = {
        "float_series": "float_value",
        "string_series": "string_value",
        "histogram_series": "histogram_value",
        "file_series": "file_value",
        "file_set": "file_value",
    }.get(kind, f"{kind}_value")
    return {
        "project_id": "team/project",
        "run_id": run,
        "attribute_path": path,
        "attribute_type": kind,
        "step": None if step is None else Decimal(step),
        "timestamp": None if step is None else AT,
        column: value,
    }


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(path)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    data, kept = tmp_path / "data" / "team_project_1a2b", tmp_path / "files" / "team_project_1a2b"
    write(
        data / "RUN-1_part_0.parquet",
        [
            row("sys/custom_run_id", "string", "named"),
            row("sys/creation_time", "datetime", AT),
            row("sys/modification_time", "datetime", AT.replace(hour=13)),
            row("sys/owner", "string", "ana"),
            row("sys/tags", "string_set", ["a", "b"]),
            row("sys/description", "string", "some notes"),
            row("lr", "float", 0.1),
            row("layers", "int", 3),
            row("flag", "bool", True),
            row("when", "datetime", AT),
            row("absent", "float", None),
            *(row("loss", "float_series", 1 / (n + 1), step=str(n)) for n in range(5)),
        ],
    )
    write(
        data / "RUN-1_part_1.parquet",
        [
            *(row("loss", "float_series", float(n), step=str(n)) for n in range(5, 7)),
            row("nan", "float_series", float("nan"), step="1"),
            row("log", "string_series", "first", step="0"),
            row("log", "string_series", "second", step="0.5"),
            row(
                "weights",
                "histogram_series",
                {"type": "COUNTING", "edges": [0.0, 1.0], "values": [3.0]},
                step="1",
            ),
            row("model", "file", {"path": "RUN-1/model.bin"}),
            row("folder", "file_set", {"path": "RUN-1/folder"}),
            row("gone", "file", {"path": "RUN-1/gone.bin"}),
            row("stolen", "file", {"path": "../../secret"}),
            row("sample", "file_series", {"path": "RUN-1/sample.png"}, step="2"),
        ],
    )
    (kept / "RUN-1" / "folder").mkdir(parents=True)
    (kept / "RUN-1" / "model.bin").write_bytes(b"weights")
    (kept / "RUN-1" / "sample.png").write_bytes(b"image")
    (kept / "RUN-1" / "folder" / "a.txt").write_bytes(b"inner")
    (tmp_path / "secret").write_bytes(b"mine")
    return tmp_path


def test_a_run_with_its_attributes(export: Path) -> None:
    source = open_source(str(export))
    assert [item.load().name for item in source.experiments()] == ["team/project"]
    (run,) = runs(source).values()
    assert (run.run.id, run.run.name, run.run.actor) == ("RUN-1", "named", "ana")
    assert (run.run.started_at, run.run.ended_at) == (AT, AT.replace(hour=13))
    assert run.params == {"lr": "0.1", "layers": "3", "flag": "True", "when": "2025-03-01T12:00:00+00:00"}
    assert run.tags["neptune.tags"] == "a,b"
    assert run.tags["mlflow.note.content"] == "some notes"
    assert run.mark == {"neptune.project": "team/project", "neptune.run": "RUN-1"}


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_points_of_all_parts(export: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(neptune, "_ROWS", rows)
    (run,) = runs(open_source(str(export / "data"))).values()
    found = points(run)
    at = int(AT.timestamp() * 1000)
    assert found["loss"] == [
        *((1 / (n + 1), at, n) for n in range(5)),
        *((float(n), at, n) for n in range(5, 7)),
    ]
    assert found["nan"] == [("NaN", at, 1)]


def test_files_and_series_that_are_no_numbers(export: Path) -> None:
    (run,) = runs(open_source(str(export))).values()
    found = files(run)
    assert found["model.bin"] == b"weights"
    assert found["folder/a.txt"] == b"inner"
    assert found["sample/step_2.png"] == b"image"
    log = [msgspec.json.decode(line) for line in found["log.jsonl"].splitlines()]
    assert [(line["step"], line["value"]) for line in log] == [(0.0, "first"), (0.5, "second")]
    (histogram,) = (msgspec.json.decode(line) for line in found["weights.jsonl"].splitlines())
    assert (histogram["edges"], histogram["values"]) == ([0.0, 1.0], [3.0])
    sizes = {file.path: file.size for file in run.files()}
    assert sizes == {path: len(data) for path, data in found.items()}
    assert set(run.missing) == {
        Missing("run team/project/RUN-1", "file RUN-1/gone.bin is not in the export"),
        Missing("run team/project/RUN-1", "file ../../secret is not in the export"),
    }


def test_steps_that_are_fractions_are_multiplied_alike(tmp_path: Path) -> None:
    steps = ["0", "0.5", "1", "1.25"]
    write(
        tmp_path / "part_0.parquet",
        [
            *(row("a", "float_series", 1.0, step=step) for step in steps),
            row("b", "float_series", 1.0, step="7"),
        ],
    )
    (run,) = runs(open_source(str(tmp_path))).values()
    found = points(run)
    assert [step for _, _, step in found["a"]] == [0, 50, 100, 125]
    assert [step for _, _, step in found["b"]] == [700]
    assert "multiplied by 100" in run.missing[0].reason


def test_many_runs_in_a_file_and_ids_that_are_none(tmp_path: Path) -> None:
    write(
        tmp_path / "project" / "part_0.parquet",
        [
            row("loss", "float_series", 1.0, step="0", run="A-1"),
            row("loss", "float_series", 2.0, step="0", run="my run ü"),
            row("loss", "float_series", 3.0, step="1", run="A-1"),
        ],
    )
    found = runs(open_source(str(tmp_path)))
    assert [value for value, _, _ in points(found["A-1"])["loss"]] == [1.0, 3.0]
    assert [value for value, _, _ in points(found["my run ü"])["loss"]] == [2.0]
    assert found["A-1"].run.id == "A-1"
    assert len(found["my run ü"].run.id) == 32
    assert found["my run ü"].run.id == found["my run ü"].spare


def test_what_is_no_export(tmp_path: Path) -> None:
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "part_0.parquet")
    with pytest.raises(BadRequest, match="it has no column"):
        open_source(str(tmp_path))
    (tmp_path / "part_0.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(BadRequest, match="cannot be read"):
        open_source(str(tmp_path))


def test_a_damaged_file_costs_its_own_run_alone(tmp_path: Path) -> None:
    for name in ("RUN-1", "RUN-2", "RUN-3"):
        for part in (0, 1):
            write(
                tmp_path / f"{name}_part_{part}.parquet",
                [row(f"x{part}", "float_series", 1.0, step="1", run=name)],
            )
    for name in ("RUN-1_part_1", "RUN-2_part_0", "RUN-2_part_1"):
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(path.read_bytes()[:-20])
    source = open_source(str(tmp_path))
    assert source.count() == 3
    told = {}
    for item in source.runs():
        try:
            told[item.name] = sorted(points(item.load()))
        except BadRequest as error:
            told[item.name] = [error.message.partition(" cannot be read")[0].rpartition("/")[2]]
    assert told == {
        "run team/project/RUN-1": ["RUN-1_part_1.parquet"],  # not without what that part holds
        "run team/project/RUN-3": ["x0", "x1"],
        f"runs in {tmp_path}/RUN-2_part_*.parquet": ["RUN-2_part_1.parquet"],
    }


def test_more_series_than_can_be_numbered_at_once(tmp_path: Path) -> None:
    rows = [row(f"x{number}", "float_series", float(number), step="1") for number in range(70_000)]
    write(tmp_path / "RUN-1_part_0.parquet", rows)
    (run,) = runs(open_source(str(tmp_path))).values()
    found = points(run)
    assert len(found) == 70_000
    assert found["x69999"] == [(69_999.0, int(AT.timestamp() * 1000), 1)]
