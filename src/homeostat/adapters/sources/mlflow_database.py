"""An MLflow tracking database, in SQLite or PostgreSQL, of any version: tables and columns it lacks are nothing.

Each run is read in its own short transaction, so that a server that still writes there is not held up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from sqlalchemy import URL, column, literal, select, table

from homeostat.adapters.sources.database import Database
from homeostat.adapters.sources.mlflow_values import (
    DELETED_VERSION,
    LARGEST,
    Places,
    dataset_of,
    distinct,
    experiment_of,
    logged_model_of,
    model_of,
    run_of,
    version_of,
)
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
    SourceVersion,
)

NEEDED: Final = frozenset({"experiments", "runs", "params", "tags", "metrics"})
_NAME: Final = "mlflow.runName"
_STANDARD: Final = "default"
_ROLES: Final = {"RUN_INPUT": "input", "RUN_OUTPUT": "output"}
_ELSE: Final = {
    "trace_info": "traces",
    "evaluation_datasets": "evaluation datasets",
    "scorers": "scorers",
    "webhooks": "webhooks",
    "endpoints": "gateway endpoints",
    "jobs": "jobs",
}


class MlflowDatabase:
    """Reads an MLflow database; see the port.

    Args:
        url: Where it is.
        served: The folder in which its server kept files, if it did.
        links: Whether to follow links that lead out of a run's folder.

    Raises:
        BadRequest: it is no MLflow database, or the URL cannot be.
        StoreUnavailable: it does not answer.
    """

    kind = "MLflow database"

    def __init__(self, url: URL, served: Path | None = None, *, links: bool = False) -> None:
        self._database = Database(url)
        if lacking := NEEDED - self._database.tables.keys():
            self.close()
            raise BadRequest(
                f"{self._database.name} is no MLflow database: it has no table {min(lacking)}", field="source"
            )
        folder = Path(url.database or "").absolute().parent if url.drivername == "sqlite" else Path.cwd()
        if served is None and url.drivername == "sqlite" and (folder / "mlartifacts").is_dir():
            served = folder / "mlartifacts"
        self._places = Places(folder, served, links)
        self._locations = {
            str(row["experiment_id"]): str(row.get("artifact_location") or "")
            for row in self._database.rows("experiments")
        }

    def experiments(self) -> Iterator[Item[SourceExperiment]]:
        """Every experiment."""
        for row in self._database.rows("experiments", order=["experiment_id"]):
            yield Item(f"experiment {row['experiment_id']}", partial(self._experiment, row))

    def count(self) -> int:
        """How many runs there are."""
        return self._database.count("runs")

    def runs(self) -> Iterator[Item[SourceRun]]:
        """Every run."""
        for row in self._database.pages("runs", "run_uuid"):
            yield Item(f"run {row['run_uuid']}", partial(self._run, row))

    def logged_models(self) -> Iterator[Item[SourceLoggedModel]]:
        """Every logged model."""
        for row in self._database.pages("logged_models", "model_id"):
            yield Item(f"logged model {row['model_id']}", partial(self._logged_model, row))

    def models(self) -> Iterator[Item[SourceModel]]:
        """Every registered model."""
        for row in self._database.rows("registered_models", order=["name"]):
            yield Item(f"model {row['name']}", partial(self._model, row))

    def missing(self) -> Iterable[Missing]:
        """What else the database holds, and files on a disk that is not here."""
        for name, what in _ELSE.items():
            if count := self._database.count(name):
                yield Missing(self._database.name, f"its {what}, {count:,} of them, are not imported")
        for key, location in self._locations.items():
            if self._places.absent(location):
                yield Missing(
                    f"experiment {key}",
                    f"its files, if there are any, are at {location}, which is not on this machine:"
                    " say where with --files",
                )

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def _experiment(self, row: dict[str, Any]) -> SourceExperiment:
        tags = self._texts("experiment_tags", "key", "value", experiment_id=row["experiment_id"])
        found = experiment_of(row, tags, self._places)
        if (workspace := row.get("workspace") or _STANDARD) == _STANDARD:
            return found
        # Names are unique in a workspace only.
        return SourceExperiment(**(vars(found) | {"name": f"{workspace}/{found.name}"}))

    def _run(self, row: dict[str, Any]) -> SourceRun:
        id = str(row["run_uuid"])
        tags = self._texts("tags", "key", "value", run_uuid=id)
        key = str(row["experiment_id"])
        missing: list[Missing] = []
        return SourceRun(
            run=run_of(id, row, str(row.get("name") or tags.get(_NAME, ""))),
            experiment=key,
            params=self._texts("params", "key", "value", run_uuid=id),
            tags=tags,
            inputs=self._inputs(id),
            models=[
                RunModel(
                    run=id, model=str(link["destination_id"]), role=role, step=int(link.get("step") or 0)
                )
                for kind, role in _ROLES.items()
                for link in self._database.rows("inputs", source_type=kind, source_id=id)
            ],
            points=partial(self._points, id),
            files=partial(
                self._places.files,
                str(row.get("artifact_uri") or ""),
                missing,
                location=self._locations.get(key, ""),
                inner=f"{id}/artifacts",
                subject=f"run {id}",
            ),
            missing=missing,
        )

    def _inputs(self, run: str) -> list[RunInput]:
        found = []
        for link in self._database.rows(
            "inputs", source_type="DATASET", destination_type="RUN", destination_id=run
        ):
            tags = self._texts("input_tags", "name", "value", input_uuid=link["input_uuid"])
            for about in self._database.rows("datasets", dataset_uuid=link["source_id"]):
                found.append(dataset_of(run, about, tags, prefix="dataset_"))
        return found

    def _points(self, run: str) -> Iterator[Columns]:
        lacking = {"step", "is_nan"} - self._database.tables["metrics"]
        wanted = (
            literal(0).label(name) if name in lacking else column(name)
            for name in ("key", "value", "timestamp", "step", "is_nan")
        )
        statement: Any = select(*wanted).select_from(table("metrics"))
        for rows in self._database.batches(statement.where(column("run_uuid") == run)):
            yield _columns(rows)

    def _logged_model(self, row: dict[str, Any]) -> SourceLoggedModel:
        id, key = str(row["model_id"]), str(row["experiment_id"])
        values = {
            "creation_timestamp": row["creation_timestamp_ms"],
            "last_updated_timestamp": row["last_updated_timestamp_ms"],
        }
        missing: list[Missing] = []
        return SourceLoggedModel(
            model=logged_model_of(row | values),
            experiment=key,
            params=self._texts("logged_model_params", "param_key", "param_value", model_id=id),
            tags=self._texts("logged_model_tags", "tag_key", "tag_value", model_id=id),
            metrics=distinct(
                [_model_metric(found) for found in self._database.rows("logged_model_metrics", model_id=id)]
            ),
            files=partial(
                self._places.files,
                str(row["artifact_location"]),
                missing,
                location=self._locations.get(key, ""),
                inner=f"models/{id}/artifacts",
                subject=f"logged model {id}",
            ),
            missing=missing,
        )

    def _model(self, row: dict[str, Any]) -> SourceModel:
        own = {"name": row["name"]} | ({"workspace": row["workspace"]} if "workspace" in row else {})
        workspace = row.get("workspace") or _STANDARD
        name = str(row["name"]) if workspace == _STANDARD else f"{workspace}.{row['name']}"
        versions, greatest = [], 0
        for found in self._database.rows("model_versions", order=["version"], **own):
            greatest = max(greatest, int(found["version"]))
            if found.get("current_stage") == DELETED_VERSION:
                continue
            tags = self._texts("model_version_tags", "key", "value", **own, version=found["version"])
            version = version_of(
                found | {"name": name}, found.get("creation_time"), found.get("last_updated_time")
            )
            versions.append(SourceVersion(version=version, tags=tags))
        model = model_of(row | {"name": name}, row.get("creation_time"), row.get("last_updated_time"))
        return SourceModel(
            model=msgspec.structs.replace(model, versions=greatest),
            tags=self._texts("registered_model_tags", "key", "value", **own),
            versions=versions,
            aliases={
                str(found["alias"]): int(found["version"])
                for found in self._database.rows("registered_model_aliases", **own)
            },
        )

    def _texts(self, name: str, key: str, value: str, /, **where: Any) -> dict[str, str]:
        return {str(row[key]): str(row[value] or "") for row in self._database.rows(name, **where)}


def _columns(rows: Sequence[Any]) -> Columns:
    number: dict[str, int] = {}
    keys = [number.setdefault(str(row[0]), len(number)) for row in rows]
    values = np.array([row[1] for row in rows], np.float64)
    values[values >= LARGEST] = np.inf  # a database keeps the infinities as the largest number there is
    values[values <= -LARGEST] = -np.inf
    values[np.array([bool(row[4]) for row in rows])] = np.nan
    return Columns(
        list(number),
        np.array(keys, np.uint16),
        values,
        np.array([row[2] or 0 for row in rows], np.int64),
        np.array([row[3] or 0 for row in rows], np.int64),
    )


def _model_metric(row: dict[str, Any]) -> LoggedModelMetric:
    value = row["metric_value"]
    return LoggedModelMetric(
        model=str(row["model_id"]),
        key=str(row["metric_name"]),
        run=str(row["run_id"]),
        dataset=str(row.get("dataset_name") or ""),
        digest=str(row.get("dataset_digest") or ""),
        value=None if value is None or value != value else float(value),
        step=int(row["metric_step"]),
        timestamp=int(row["metric_timestamp_ms"]),
    )
