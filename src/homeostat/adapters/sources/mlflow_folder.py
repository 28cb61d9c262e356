"""An MLflow folder (``mlruns``): a folder an experiment, in it one a run, in that a file a metric, param and tag."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from homeostat.adapters.sources.meta_files import META, yaml_of
from homeostat.adapters.sources.mlflow_registry import registered_models
from homeostat.adapters.sources.mlflow_values import (
    Places,
    dataset_of,
    distinct,
    experiment_of,
    logged_model_of,
    run_of,
)
from homeostat.adapters.sources.reading import damaged, files_in, folders_of, text_of, texts_of
from homeostat.domain.errors import BadRequest
from homeostat.domain.tracking import LoggedModelMetric, RunInput, RunModel
from homeostat.ports.sources import (
    Columns,
    Item,
    Missing,
    SourceExperiment,
    SourceLoggedModel,
    SourceModel,
    SourceRun,
)

_TRASH: Final = ".trash"
_REGISTRY: Final = "models"
_RESERVED: Final = frozenset({"tags", "datasets", "traces", "models"})
_NAME: Final = "mlflow.runName"
_POINTS: Final = 65_536


class MlflowFolder:
    """Reads an MLflow folder; see the port.

    Args:
        root: The folder.
        served: Where a server kept its files, if runs have some there.
        links: Whether to follow links that lead out of a run's folder.
        beside: A database that lies beside it, which is not read.
    """

    kind = "MLflow folder"

    def __init__(
        self, root: Path, served: Path | None = None, *, links: bool = False, beside: Path | None = None
    ) -> None:
        self._root, self._beside = root, beside
        self._places = Places(root.parent, served, links)

    def experiments(self) -> Iterator[Item[SourceExperiment]]:
        """Every experiment."""
        for folder in self._experiments():
            yield Item(f"experiment {folder.name}", partial(self._experiment, folder))

    def count(self) -> int:
        """How many runs there are."""
        return sum(len(_run_folders(folder)) for folder in self._experiments())

    def runs(self) -> Iterator[Item[SourceRun]]:
        """Every run."""
        for experiment in self._experiments():
            for folder in _run_folders(experiment):
                yield Item(f"run {folder.name}", partial(self._run, experiment, folder))

    def logged_models(self) -> Iterator[Item[SourceLoggedModel]]:
        """Every logged model."""
        for experiment in self._experiments():
            for folder in _inside(experiment / "models"):
                yield Item(f"logged model {folder.name}", partial(self._logged_model, experiment, folder))

    def models(self) -> Iterator[Item[SourceModel]]:
        """Every registered model."""
        return registered_models(self._root / _REGISTRY)

    def missing(self) -> Iterable[Missing]:
        """Traces stay where they are, and so does all that a database knows of."""
        if self._beside is not None:
            yield Missing(str(self._beside), "it is not read: import it by itself, it may know of other runs")
        for folder in self._folders():
            if files_alone(folder):
                yield Missing(
                    f"folder {folder.name}",
                    "it has files alone, of runs that a database knows: import that database",
                )
        for experiment in self._experiments():
            if traces := len(_inside(experiment / "traces")):
                yield Missing(
                    f"experiment {experiment.name}", f"its traces, {traces:,} of them, are not imported"
                )

    def close(self) -> None:
        """Nothing is open."""

    def _experiments(self) -> list[Path]:
        return [folder for folder in self._folders() if not files_alone(folder)]

    def _folders(self) -> list[Path]:
        alive = [path for path in folders_of(self._root) if path.name not in (_TRASH, _REGISTRY)]
        return [*alive, *folders_of(self._root / _TRASH)]

    def _experiment(self, folder: Path) -> SourceExperiment:
        for inner in (folder, folder / "models"):
            folders_of(inner)  # what they hold is passed over where they cannot be read: it is told here
        meta = yaml_of(folder / META, "experiment_id", "name")
        return experiment_of(meta, texts_of(folder / "tags"), self._places)

    def _run(self, experiment: Path, folder: Path) -> SourceRun:
        meta = yaml_of(folder / META)
        id = str(meta.get("run_id") or meta.get("run_uuid"))
        if id != folder.name:
            raise damaged(folder, f"its {META} is that of run {id}")
        tags = texts_of(folder / "tags")
        missing: list[Missing] = []
        inputs, models = _inputs(experiment, folder, id, missing)
        return SourceRun(
            run=run_of(id, meta, str(meta.get("run_name") or tags.get(_NAME, ""))),
            experiment=experiment.name,
            params=texts_of(folder / "params"),
            tags=tags,
            inputs=inputs,
            models=[*models, *_outputs(folder, id)],
            points=partial(_points, folder / "metrics", f"run {id}", missing),
            files=partial(
                self._places.files,
                str(meta.get("artifact_uri") or ""),
                missing,
                own=folder / "artifacts",
                location=self._location(experiment),
                inner=f"{id}/artifacts",
                subject=f"run {id}",
            ),
            missing=missing,
        )

    def _logged_model(self, experiment: Path, folder: Path) -> SourceLoggedModel:
        meta = yaml_of(folder / META, "model_id", "status", "creation_timestamp")
        model = logged_model_of(meta)
        missing: list[Missing] = []
        return SourceLoggedModel(
            model=model,
            experiment=experiment.name,
            params=texts_of(folder / "params"),
            tags=texts_of(folder / "tags"),
            metrics=distinct(list(_model_metrics(folder / "metrics", model.id))),
            files=partial(
                self._places.files,
                str(meta.get("artifact_location") or ""),
                missing,
                own=folder / "artifacts",
                location=self._location(experiment),
                inner=f"models/{model.id}/artifacts",
                subject=f"logged model {model.id}",
            ),
            missing=missing,
        )

    def _location(self, experiment: Path) -> str:
        return str(yaml_of(experiment / META).get("artifact_location") or "")


def files_alone(folder: Path) -> bool:
    """Nothing of an experiment, its runs and its models is told beside their files, which a database may know of."""
    told, files = (META, f"*/{META}", f"models/*/{META}"), ("*/artifacts", "models/*/artifacts")
    return _any(folder, files) and not _any(folder, told)


def _any(folder: Path, patterns: Iterable[str]) -> bool:
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def _run_folders(experiment: Path) -> list[Path]:
    return [path for path in _inside(experiment) if path.name not in _RESERVED]


def _inside(folder: Path) -> list[Path]:
    try:
        return folders_of(folder)
    except BadRequest:  # told with its experiment
        return []


def _points(folder: Path, subject: str, missing: list[Missing]) -> Iterator[Columns]:
    """Every line of every metric: timestamp, value, step; a step is missing in the oldest.

    A last line that does not end was cut off as it was written, or is just being written: any of its numbers may be.
    """
    for path, key in _files(folder):
        rows: list[tuple[float, int, int]] = []
        for number, line in enumerate(_lines(path), start=1):
            if not line.endswith("\n"):
                missing.append(Missing(subject, f"the last point of metric {key} is cut off in its file"))
                break
            try:
                timestamp, value, *step = line.strip().split(" ")[:3]
                rows.append((float(value), int(timestamp), int(step[0]) if step else 0))
            except ValueError as error:
                raise damaged(path, f"line {number} is no point: {line.strip()[:80]!r}") from error
            if len(rows) == _POINTS:
                yield _columns(key, rows)
                rows = []
        if rows:
            yield _columns(key, rows)


def _columns(key: str, rows: list[tuple[float, int, int]]) -> Columns:
    value, timestamp, step = zip(*rows, strict=True)
    try:
        return Columns(
            [key],
            np.zeros(len(rows), np.uint16),
            np.array(value, np.float64),
            np.array(timestamp, np.int64),
            np.array(step, np.int64),
        )
    except OverflowError as error:
        raise BadRequest(f"metric {key} has a time or a step beyond 64 bits") from error


def _files(folder: Path) -> list[tuple[Path, str]]:
    return sorted((path, path.relative_to(folder).as_posix()) for path in files_in(folder))


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from (line for line in file if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, str(error)) from error


def _inputs(
    experiment: Path, folder: Path, run: str, missing: list[Missing]
) -> tuple[list[RunInput], list[RunModel]]:
    datasets, models = [], []
    for path in folders_of(folder / "inputs"):
        meta = yaml_of(path / META, "source_type", "source_id")
        id = str(meta["source_id"])
        if "MODEL" in str(meta["source_type"]):
            models.append(RunModel(run=run, model=id, role="input"))
            continue
        if not (experiment / "datasets" / id / META).is_file():
            missing.append(Missing(f"run {run}", f"its input {id} is not described anywhere"))
            continue
        about = yaml_of(experiment / "datasets" / id / META, "name", "digest")
        datasets.append(dataset_of(run, about, {str(k): str(v) for k, v in (meta.get("tags") or {}).items()}))
    return datasets, models


def _outputs(folder: Path, run: str) -> list[RunModel]:
    found = []
    for path in folders_of(folder / "outputs"):
        meta = yaml_of(path / META, "destination_id")
        found.append(
            RunModel(
                run=run, model=str(meta["destination_id"]), role="output", step=int(meta.get("step") or 0)
            )
        )
    return found


def _model_metrics(folder: Path, model: str) -> Iterator[LoggedModelMetric]:
    """Lines of timestamp, value, step and run, and of the dataset's name and digest where one is known."""
    for path, key in _files(folder):
        for number, line in enumerate(text_of(path).splitlines(), start=1):
            try:
                timestamp, text, step, run, *dataset = line.split(" ")
                value = float(text)
                yield LoggedModelMetric(
                    model=model,
                    key=key,
                    run=run,
                    dataset=" ".join(dataset[:-1]),
                    digest=dataset[-1] if dataset else "",
                    value=value if value == value else None,
                    step=int(step),
                    timestamp=int(timestamp),
                )
            except ValueError as error:
                raise damaged(path, f"line {number} is no point: {line[:80]!r}") from error
