"""What MLflow's folders and databases have in common: states, where files are, and the numbers of both."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from homeostat.adapters.sources.reading import EPOCH, files_of, local, moment
from homeostat.domain.errors import BadRequest
from homeostat.domain.records import ModelVersion, Run, RunState
from homeostat.domain.tracking import LoggedModel, LoggedModelMetric, RegisteredModel, RunInput
from homeostat.ports.sources import Missing, SourceExperiment, SourceFile

DELETED_VERSION: Final = "Deleted_Internal"
LARGEST_ID: Final = 2**62  # the next experiment's number must fit in 64 bits
_STATES: Final[dict[Any, RunState]] = {
    "RUNNING": "running",
    "SCHEDULED": "queued",
    "FINISHED": "succeeded",
    "FAILED": "failed",
    "KILLED": "cancelled",
}
_NUMBERED: Final = dict(enumerate(_STATES.values(), start=1))
_MODEL_STATES: Final = {1: "PENDING", 2: "READY", 3: "UPLOAD_FAILED"}
LARGEST: Final = sys.float_info.max
_SERVED: Final = "mlflow-artifacts"


@dataclass(frozen=True)
class Places:
    """Where files named by MLflow's URIs are on this machine.

    Args:
        base: What relative paths begin at.
        served: The folder in which a server kept what it calls ``mlflow-artifacts:/``; None where it is not known.
        links: Whether to follow links that lead out of a run's folder.
    """

    base: Path
    served: Path | None
    links: bool = False

    def remote(self, uri: str) -> str:
        """A URI that clients read by themselves and nobody reads here; empty for others."""
        return "" if not uri or uri.startswith(f"{_SERVED}:") or local(uri, self.base) else uri

    def files(
        self,
        uri: str,
        missing: list[Missing],
        *,
        own: Path | None = None,
        location: str,
        inner: str,
        subject: str,
    ) -> Iterator[SourceFile]:
        """The files of a run or a model.

        Args:
            uri: Where MLflow says they are.
            missing: Where to tell what cannot be read.
            own: Where they would be if their folder was moved; None: nowhere.
            location: Where those of the experiment are.
            inner: Where clients will look for these, below that.
            subject: Whose they are.
        """
        if own is not None and own.is_dir():
            yield from files_of(own, missing, links=self.links)
        elif uri.startswith(f"{_SERVED}:"):
            yield from self._served(uri, missing, subject)
        elif folder := local(uri, self.base) if uri else None:
            if self.served is not None and not folder.is_dir():
                name = (local(location, self.base) or folder).name
                folder = self.served / name / inner
            yield from files_of(folder, missing, links=self.links)
        elif uri.rstrip("/") != f"{location.rstrip('/')}/{inner}":
            missing.append(Missing(subject, f"its files stay at {uri}, where clients will not look for them"))

    def absent(self, location: str) -> bool:
        """Whether the files of an experiment are on a disk that is not here."""
        if location.startswith(f"{_SERVED}:"):
            return self.served is None
        folder = local(location, self.base) if location else None
        return folder is not None and self.served is None and not folder.parent.is_dir()

    def _served(self, uri: str, missing: list[Missing], subject: str) -> Iterator[SourceFile]:
        path = unquote(urlsplit(uri).path).strip("/")
        if ".." in path.split("/"):
            missing.append(
                Missing(subject, f"its files are said to be at {uri}, which leads out of the server's")
            )
        elif self.served is not None:
            yield from files_of(self.served / path, missing, links=self.links)


def experiment_of(values: Mapping[str, Any], tags: Mapping[str, str], places: Places) -> SourceExperiment:
    """An experiment by the names of MLflow's fields."""
    key = str(values["experiment_id"])
    created = moment(values.get("creation_time"), f"the creation of experiment {key}")
    updated = moment(values.get("last_update_time"), f"the change of experiment {key}")
    number = int(key) if key.isascii() and key.isdigit() else LARGEST_ID
    return SourceExperiment(
        key=key,
        id=number if number < LARGEST_ID else None,
        name=str(values["name"]),
        artifacts=places.remote(str(values.get("artifact_location") or "")),
        tags=tags,
        created_at=created,
        updated_at=updated,
        deleted_at=_deleted(values, updated, created),
    )


def run_of(id: str, values: Mapping[str, Any], name: str) -> Run:
    """A run by the names of MLflow's fields.

    Raises:
        BadRequest: a state or a time is none.
    """
    started = moment(values.get("start_time"), f"the start of run {id}")
    ended = moment(values.get("end_time"), f"the end of run {id}")
    status = values.get("status", "RUNNING")
    state = _STATES.get(status) or _NUMBERED.get(status)
    if state is None:
        raise BadRequest(f"run {id} has status {status!r}, which is none")
    return Run(
        id=id,
        kind="run",
        name=name,
        state=state,
        actor=str(values.get("user_id") or ""),
        created_at=started or ended or EPOCH,
        started_at=started,
        ended_at=ended,
        deleted_at=_deleted(
            values, moment(values.get("deleted_time"), f"the removal of run {id}"), ended, started
        ),
    )


def dataset_of(run: str, about: Mapping[str, Any], tags: dict[str, str], prefix: str = "") -> RunInput:
    """A dataset that a run read, by the names of MLflow's fields, some of which a database gives a prefix."""
    return RunInput(
        run=run,
        name=str(about["name"]),
        digest=str(about["digest"]),
        source_type=str(about.get(f"{prefix}source_type") or ""),
        source=str(about.get(f"{prefix}source") or ""),
        schema=str(about.get(f"{prefix}schema") or ""),
        profile=str(about.get(f"{prefix}profile") or ""),
        tags=tags,
    )


def logged_model_of(values: Mapping[str, Any]) -> LoggedModel:
    """A logged model by the names of MLflow's fields.

    Raises:
        BadRequest: a status or a time is none.
    """
    id = str(values["model_id"])
    created = moment(values["creation_timestamp"], f"the creation of model {id}") or EPOCH
    updated = moment(values.get("last_updated_timestamp"), f"the change of model {id}") or created
    status = _MODEL_STATES.get(values["status"])
    if status is None:
        raise BadRequest(f"logged model {id} has status {values['status']!r}, which is none")
    return LoggedModel(
        id=id,
        experiment=0,
        name=str(values.get("name") or ""),
        type=str(values.get("model_type") or ""),
        run=str(values.get("source_run_id") or ""),
        status=status,
        status_message=str(values.get("status_message") or ""),
        artifacts="",
        created_at=created,
        updated_at=updated,
        deleted_at=_deleted(values, updated),
    )


def model_of(values: Mapping[str, Any], created: Any, updated: Any) -> RegisteredModel:
    """A registered model, and when it was made and changed, in milliseconds."""
    name = str(values["name"])
    at = moment(created, f"the creation of model {name}") or EPOCH
    return RegisteredModel(
        name=name,
        description=str(values.get("description") or ""),
        created_at=at,
        updated_at=moment(updated, f"the change of model {name}") or at,
    )


def version_of(values: Mapping[str, Any], created: Any, updated: Any) -> ModelVersion:
    """A version of a registered model, and when it was made and changed, in milliseconds."""
    name = f"version {values['version']} of model {values['name']}"
    at = moment(created, f"the creation of {name}") or EPOCH
    source, storage = str(values.get("source") or ""), str(values.get("storage_location") or "")
    return ModelVersion(
        model=str(values["name"]),
        version=int(values["version"]),
        run=str(values.get("run_id") or ""),
        stage="registered",
        source=source,
        location="" if storage == source else storage,
        logged_model=str(values.get("model_id") or ""),
        link=str(values.get("run_link") or ""),
        description=str(values.get("description") or ""),
        label=str(values.get("current_stage") or "None"),
        actor=str(values.get("user_id") or ""),
        created_at=at,
        updated_at=moment(updated, f"the change of {name}") or at,
    )


def distinct(points: list[LoggedModelMetric]) -> list[LoggedModelMetric]:
    """The points, of those at one place the last."""
    return list({point.place: point for point in points}.values())


def _deleted(values: Mapping[str, Any], *times: datetime | None) -> datetime | None:
    if values.get("lifecycle_stage", "active") != "deleted":
        return None
    return next((at for at in times if at is not None), EPOCH)
