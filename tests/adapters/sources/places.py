"""The data of other trackers, unpacked."""

from __future__ import annotations

import sqlite3
import zipfile
from pathlib import Path
from typing import Any

from homeostat.ports.sources import Source, SourceRun

_DATA = Path(__file__).parent / "data"


def unpacked(name: str, folder: Path) -> Path:
    with zipfile.ZipFile(_DATA / f"{name}.zip") as archive:
        archive.extractall(folder)
    return folder


def mlruns(folder: Path) -> Path:
    return unpacked("mlflow_folder", folder) / "mlruns"


def database(folder: Path) -> Path:
    """MLflow's SQLite file, its paths moved to where its files are unpacked."""
    unpacked("mlflow_database", folder)
    script = (_DATA / "mlflow_database.sql").read_text().replace("/srv/mlflow/database", str(folder))
    path = folder / "mlflow.db"
    connection = sqlite3.connect(path)
    try:
        connection.executescript(script)
    finally:
        connection.close()
    return path


def wandb(folder: Path) -> Path:
    return unpacked("wandb", folder) / "wandb"


def tensorboard(folder: Path) -> Path:
    return unpacked("tensorboard", folder) / "logs"


def runs(source: Source) -> dict[str, SourceRun]:
    """The runs of a source by name."""
    loaded = [item.load() for item in source.runs()]
    return {found.run.name: found for found in loaded}


def points(run: SourceRun) -> dict[str, list[tuple[float, int, int]]]:
    """The points of a run by metric, as (value, timestamp, step); NaN as a text, so that it equals itself."""
    found: dict[str, list[tuple[Any, int, int]]] = {}
    for columns in run.points():
        rows = zip(
            columns.key.tolist(),
            columns.value.tolist(),
            columns.timestamp.tolist(),
            columns.step.tolist(),
            strict=True,
        )
        for key, value, at, step in rows:
            shown = value if value == value else "NaN"
            found.setdefault(columns.keys[key], []).append((shown, at, step))
    return found


def files(run: SourceRun) -> dict[str, bytes]:
    return {file.path: b"".join(file.read()) for file in run.files()}
