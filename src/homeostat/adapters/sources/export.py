"""Homeostat's own export: a folder of JSON, Parquet and the files themselves, which other programs read as well.

    homeostat-export.json       which form this is
    experiments/ID.json         an experiment and its tags
    runs/ID/run.json            a run, its parameters, tags, inputs and logged models
    runs/ID/points-N.parquet    its points: key, value, timestamp (ms since 1970), step
    runs/ID/artifacts/…         its files
    logged-models/ID/…          the same of logged models: model.json, artifacts/…
    models/NAME.json            a registered model with tags, versions and aliases

A run's folder is written under another name and renamed, so that it is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from homeostat.adapters.sources.reading import damaged
from homeostat.domain.errors import BadRequest, StoreUnavailable
from homeostat.domain.records import ModelVersion, Run
from homeostat.domain.tracking import (
    Experiment,
    LoggedModel,
    LoggedModelMetric,
    RegisteredModel,
    RunInput,
    RunModel,
)
from homeostat.ports.sources import (
    Columns,
    SourceExperiment,
    SourceFile,
    SourceLoggedModel,
    SourceModel,
    SourceRun,
)

MARK: Final = "homeostat-export.json"
FORM: Final = 1
POINTS: Final = "points-*.parquet"
KEYS: Final = 1 << 16  # so many metrics are numbered
_PART: Final = 1 << 18


class Mark(msgspec.Struct):
    """Which form an export has."""

    form: int


class ExportedExperiment(msgspec.Struct):
    """What ``experiments/ID.json`` holds."""

    key: str
    experiment: Experiment
    tags: Mapping[str, str]


class ExportedRun(msgspec.Struct):
    """What ``run.json`` holds."""

    run: Run
    experiment: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    inputs: list[RunInput]
    models: list[RunModel]


class ExportedMetric(msgspec.Struct):
    """A metric of a logged model; infinities are texts, since JSON has none."""

    key: str
    run: str
    dataset: str
    digest: str
    value: float | str | None
    step: int
    timestamp: int


class ExportedLoggedModel(msgspec.Struct):
    """What ``model.json`` holds."""

    model: LoggedModel
    experiment: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: list[ExportedMetric]


class ExportedVersion(msgspec.Struct):
    """A version of a registered model."""

    version: ModelVersion
    tags: Mapping[str, str]


class ExportedModel(msgspec.Struct):
    """What ``models/NAME.json`` holds."""

    model: RegisteredModel
    tags: Mapping[str, str]
    versions: list[ExportedVersion]
    aliases: Mapping[str, int]


class ExportFolder:
    """Writes an export; see the port. What is exported again takes the place of what was.

    Args:
        root: Where; a folder that is not there yet, or is an export already.

    Raises:
        BadRequest: something else is there.
        StoreUnavailable: the disk does not take it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        with _written(root):
            if root.exists() and not (root / MARK).is_file() and (not root.is_dir() or any(root.iterdir())):
                raise BadRequest(f"{root} is there and is no export", remedy="Name a folder of its own")
            root.mkdir(parents=True, exist_ok=True)
            _write(root / MARK, Mark(FORM))

    def experiment(self, given: SourceExperiment) -> None:
        """Write an experiment."""
        at = given.created_at
        if given.id is None or at is None:
            raise BadRequest(f"experiment {given.name!r} has no id or no beginning")
        record = Experiment(
            id=given.id,
            name=given.name,
            artifacts=given.artifacts,
            created_at=at,
            updated_at=given.updated_at or at,
            deleted_at=given.deleted_at,
        )
        self._put("experiments", given.key, ExportedExperiment(given.key, record, given.tags))

    def run(self, given: SourceRun) -> None:
        """Write a run."""
        with self._folder("runs", given.run.id) as folder:
            _write_points(folder, given.points())
            _write_files(folder / "artifacts", given.files())
            inputs, models = list(given.inputs), list(given.models)
            about = ExportedRun(given.run, given.experiment, given.params, given.tags, inputs, models)
            _write(folder / "run.json", about)

    def logged_model(self, given: SourceLoggedModel) -> None:
        """Write a logged model."""
        with self._folder("logged-models", given.model.id) as folder:
            _write_files(folder / "artifacts", given.files())
            metrics = [_exported(metric) for metric in given.metrics]
            about = ExportedLoggedModel(given.model, given.experiment, given.params, given.tags, metrics)
            _write(folder / "model.json", about)

    def model(self, given: SourceModel) -> None:
        """Write a registered model."""
        versions = [ExportedVersion(found.version, found.tags) for found in given.versions]
        about = ExportedModel(given.model, given.tags, versions, given.aliases)
        self._put("models", given.model.name, about)

    def close(self) -> None:
        """Nothing is open."""

    def _put(self, kind: str, name: str, value: Any) -> None:
        path = self._root / kind / f"{_name(name)}.json"
        with _written(path):
            path.parent.mkdir(exist_ok=True)
            _write(path, value)

    @contextmanager
    def _folder(self, kind: str, name: str) -> Iterator[Path]:
        """A folder that takes the place of an older one when the block ends."""
        final = self._root / kind / _name(name)
        partial = final.with_name(f".{final.name}")
        with _written(final):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            try:
                yield partial
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)


def _exported(metric: LoggedModelMetric) -> ExportedMetric:
    value: float | str | None = metric.value
    if metric.value is not None and math.isinf(metric.value):
        value = str(metric.value)
    return ExportedMetric(
        metric.key, metric.run, metric.dataset, metric.digest, value, metric.step, metric.timestamp
    )


def _write_points(folder: Path, points: Iterator[Columns]) -> None:
    import polars as pl

    held: list[pl.DataFrame] = []
    keys: set[str] = set()
    count = part = 0

    def write() -> None:
        nonlocal held, keys, count, part
        if held:
            pl.concat(held).write_parquet(folder / f"points-{part:06}.parquet")
            held, keys, count, part = [], set(), 0, part + 1

    for columns in points:
        if len(keys.union(columns.keys)) > KEYS:
            write()
        keys.update(columns.keys)
        key = pl.Series("key", columns.keys, pl.String).gather(columns.key.astype("uint32"))
        values = {"value": columns.value, "timestamp": columns.timestamp, "step": columns.step}
        held.append(pl.DataFrame({"key": key} | values))
        count += len(columns.key)
        if count >= _PART:
            write()
    write()


def _write_files(folder: Path, files: Iterator[SourceFile]) -> None:
    for file in files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            for piece in file.read():
                out.write(piece)


def _write(path: Path, value: Any) -> None:
    partial = path.with_name(f".{path.name}")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2))
    partial.replace(path)


def _name(name: str) -> str:
    """A file's name for an id or a name, which may be long and may have any letters."""
    plain = quote(name, safe="")
    plain = f"%2E{plain[1:]}" if plain.startswith(".") else plain
    return plain if len(plain) <= 200 else hashlib.sha256(name.encode()).hexdigest()


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreUnavailable(f"cannot write {path}: {reason}", remedy="Free some space") from error


def read(path: Path, kind: type[Any]) -> Any:
    """A JSON file of an export.

    Raises:
        BadRequest: it cannot be read, or holds something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise damaged(path, str(error)) from error
