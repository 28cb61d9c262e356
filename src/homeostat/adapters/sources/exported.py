"""Reading an export of Homeostat; ``export`` says how it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from homeostat.adapters.sources.export import (
    FORM,
    KEYS,
    MARK,
    POINTS,
    ExportedExperiment,
    ExportedLoggedModel,
    ExportedMetric,
    ExportedModel,
    ExportedRun,
    Mark,
    read,
)
from homeostat.adapters.sources.reading import damaged, files_of, folders_of
from homeostat.domain.errors import BadRequest
from homeostat.domain.tracking import LoggedModelMetric
from homeostat.ports.sources import (
    Columns,
    Item,
    Missing,
    SourceExperiment,
    SourceLoggedModel,
    SourceModel,
    SourceRun,
    SourceVersion,
)


class Exported:
    """Reads an export of Homeostat; see the port.

    Args:
        root: Its folder.

    Raises:
        BadRequest: a newer Homeostat wrote it.
    """

    kind = "Homeostat export"

    def __init__(self, root: Path) -> None:
        self._root = root
        form = read(root / MARK, Mark).form
        if form > FORM:
            raise BadRequest(
                f"{root} has form {form}, and this Homeostat knows {FORM}",
                remedy="Run: pip install --upgrade homeostat",
            )

    def experiments(self) -> Iterator[Item[SourceExperiment]]:
        """Every experiment."""
        for path in sorted((self._root / "experiments").glob("[!.]*.json")):
            yield Item(f"experiment {path.stem}", partial(_experiment, path))

    def count(self) -> int:
        """How many runs there are."""
        return len(self._whole("runs"))

    def runs(self) -> Iterator[Item[SourceRun]]:
        """Every run."""
        for folder in self._whole("runs"):
            yield Item(f"run {folder.name}", partial(_run, folder))

    def logged_models(self) -> Iterator[Item[SourceLoggedModel]]:
        """Every logged model."""
        for folder in self._whole("logged-models"):
            yield Item(f"logged model {folder.name}", partial(_logged_model, folder))

    def models(self) -> Iterator[Item[SourceModel]]:
        """Every registered model."""
        for path in sorted((self._root / "models").glob("[!.]*.json")):
            yield Item(f"model {path.stem}", partial(_model, path))

    def missing(self) -> Iterable[Missing]:
        """What was not exported was told then."""
        return ()

    def close(self) -> None:
        """Nothing is open."""

    def _whole(self, kind: str) -> list[Path]:
        """The folders of a kind; one that begins with a dot was never ended."""
        return [path for path in folders_of(self._root / kind) if not path.name.startswith(".")]


def _experiment(path: Path) -> SourceExperiment:
    found = read(path, ExportedExperiment)
    record = found.experiment
    return SourceExperiment(
        key=found.key,
        id=record.id,
        name=record.name,
        artifacts=record.artifacts,
        tags=found.tags,
        created_at=record.created_at,
        updated_at=record.updated_at,
        deleted_at=record.deleted_at,
    )


def _run(folder: Path) -> SourceRun:
    found = read(folder / "run.json", ExportedRun)
    missing: list[Missing] = []
    return SourceRun(
        run=found.run,
        experiment=found.experiment,
        params=found.params,
        tags=found.tags,
        inputs=found.inputs,
        models=found.models,
        points=partial(_points, folder),
        files=partial(files_of, folder / "artifacts", missing),
        missing=missing,
    )


def _points(folder: Path) -> Iterator[Columns]:
    import polars as pl

    for path in sorted(folder.glob(POINTS)):
        try:
            frame = pl.read_parquet(path, glob=False)
            keys = frame["key"].unique(maintain_order=True)
            number = frame["key"].cast(pl.Enum(keys)).to_physical().cast(pl.UInt32).alias("number")
            numbered = frame.with_columns(number)
            for first in range(0, len(keys), KEYS):
                some = numbered.filter(pl.col("number").is_between(first, first + KEYS - 1))
                yield Columns(
                    keys[first : first + KEYS].to_list(),
                    (some["number"] - first).cast(pl.UInt16).to_numpy(),
                    some["value"].cast(pl.Float64).to_numpy(),
                    some["timestamp"].cast(pl.Int64).to_numpy(),
                    some["step"].cast(pl.Int64).to_numpy(),
                )
        except (pl.exceptions.PolarsError, OSError) as error:
            raise damaged(path, " ".join(str(error).split())[:200]) from error


def _logged_model(folder: Path) -> SourceLoggedModel:
    found = read(folder / "model.json", ExportedLoggedModel)
    missing: list[Missing] = []
    return SourceLoggedModel(
        model=found.model,
        experiment=found.experiment,
        params=found.params,
        tags=found.tags,
        metrics=[_metric(found.model.id, metric) for metric in found.metrics],
        files=partial(files_of, folder / "artifacts", missing),
        missing=missing,
    )


def _metric(model: str, given: ExportedMetric) -> LoggedModelMetric:
    return LoggedModelMetric(
        model=model,
        key=given.key,
        run=given.run,
        dataset=given.dataset,
        digest=given.digest,
        value=None if given.value is None else float(given.value),
        step=given.step,
        timestamp=given.timestamp,
    )


def _model(path: Path) -> SourceModel:
    found = read(path, ExportedModel)
    return SourceModel(
        model=found.model,
        tags=found.tags,
        versions=[SourceVersion(version=one.version, tags=one.tags) for one in found.versions],
        aliases=found.aliases,
    )
