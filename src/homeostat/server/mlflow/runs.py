"""The calls about runs: made, changed, deleted, brought back and read.

Old clients name a run ``run_uuid``; both names are taken, and both are answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Final

import msgspec

from homeostat.app import tracking
from homeostat.app.container import Container
from homeostat.app.search import search
from homeostat.domain.records import Run
from homeostat.domain.tracking import STATUSES, Experiment, RunInput
from homeostat.engine.tracking import limits
from homeostat.engine.tracking.kinds import RUNS
from homeostat.engine.tracking.places import run_root
from homeostat.server.mlflow.experiments import experiment_id
from homeostat.server.mlflow.reading import Int32, Int64, Named, run_of
from homeostat.server.mlflow.values import (
    Tag,
    check_limit,
    cut,
    double,
    mapped,
    millis,
    moment,
    pairs,
    state_of,
    view_of,
)
from homeostat.server.mlflow.wire import Endpoint

_key = attrgetter("key")


class Listed(msgspec.Struct, frozen=True):
    """What is told of a run's record."""

    id: str
    experiment: int
    name: str
    state: str
    actor: str
    started_at: datetime | None
    ended_at: datetime | None
    deleted_at: datetime | None


class RunInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run without what was logged to it."""

    run_id: str
    run_uuid: str
    run_name: str
    experiment_id: str
    user_id: str
    status: str
    artifact_uri: str
    lifecycle_stage: str
    start_time: int | None = None
    end_time: int | None = None


class ShownMetric(msgspec.Struct, frozen=True, gc=False):
    """A point of a metric."""

    key: str
    value: float | str
    timestamp: int
    step: int


class ShownData(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was logged to a run; of metrics the latest points."""

    metrics: list[ShownMetric] = []
    params: list[Tag] = []
    tags: list[Tag] = []


class Dataset(msgspec.Struct, frozen=True, omit_defaults=True):
    """A dataset as clients describe it."""

    name: str = ""
    digest: str = ""
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""


class DatasetInput(msgspec.Struct, frozen=True, omit_defaults=True):
    """A dataset that a run read, and marks on that."""

    dataset: Dataset
    tags: list[Tag] = []


class ModelInput(msgspec.Struct, frozen=True):
    """A logged model that a run read."""

    model_id: Named


class ModelOutput(msgspec.Struct, frozen=True):
    """A logged model that a run made, and at which step."""

    model_id: Named
    step: Int64 = 0


class Inputs(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run read."""

    dataset_inputs: list[DatasetInput] = []
    model_inputs: list[ModelInput] = []


class Outputs(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run made."""

    model_outputs: list[ModelOutput] = []


class ShownRun(msgspec.Struct, frozen=True):
    """A run with all that was logged to it."""

    info: RunInfo
    data: ShownData
    inputs: Inputs
    outputs: Outputs


class Answer(msgspec.Struct, frozen=True):
    """The answer that holds one run."""

    run: ShownRun


class Updated(msgspec.Struct, frozen=True):
    """The answer to a change."""

    run_info: RunInfo


class Creation(msgspec.Struct, frozen=True):
    """``runs/create``; experiment 0 when none is named."""

    experiment_id: str = "0"
    user_id: str = ""
    run_name: str = ""
    start_time: Int64 | None = None
    tags: list[Tag] = []


class Change(msgspec.Struct, frozen=True):
    """``runs/update``; what is not there stays."""

    run_id: str = ""
    run_uuid: str = ""
    status: int | str = ""
    end_time: Int64 | None = None
    run_name: str = ""


class ById(msgspec.Struct, frozen=True):
    """``runs/get``, ``delete`` and ``restore``."""

    run_id: str = ""
    run_uuid: str = ""


class Search(msgspec.Struct, frozen=True):
    """``runs/search``."""

    experiment_ids: list[str] = []
    filter: str = ""
    run_view_type: int | str = "ACTIVE_ONLY"
    max_results: Int32 = 1000
    order_by: list[str] = []
    page_token: str = ""


class Page(msgspec.Struct, frozen=True, omit_defaults=True):
    """Runs that were found."""

    runs: list[ShownRun] = []
    next_page_token: str = ""


def _shown(
    container: Container, runs: Sequence[Run | Listed], experiments: Mapping[int, Experiment]
) -> list[ShownRun]:
    """Runs with what was logged to them: rows become what is answered, with nothing made in between."""
    found = {
        run.id: ShownRun(
            _info(run, experiments[run.experiment]), ShownData([], [], []), Inputs([], []), Outputs([])
        )
        for run in runs
    }
    for part in tracking.logged(container, list(found)):
        for id, key, text in part.params:
            found[id].data.params.append(Tag(key, text))
        for id, key, text in part.tags:
            found[id].data.tags.append(Tag(key, text))
        for id, key, value, timestamp, step in part.metrics:
            found[id].data.metrics.append(ShownMetric(key, double(value), timestamp, step))
        for read in part.inputs:
            found[read.run].inputs.dataset_inputs.append(_dataset(read))
        for model in part.models:
            if model.role == "input":
                found[model.run].inputs.model_inputs.append(ModelInput(model.model))
            else:
                found[model.run].outputs.model_outputs.append(ModelOutput(model.model, model.step))
    for shown in found.values():
        shown.data.metrics.sort(key=_key)
        shown.data.params.sort(key=_key)
        shown.data.tags.sort(key=_key)
    return list(found.values())


def _dataset(read: RunInput) -> DatasetInput:
    about = Dataset(read.name, read.digest, read.source_type, read.source, read.schema, read.profile)
    return DatasetInput(about, pairs(read.tags))


def _info(run: Run | Listed, experiment: Experiment) -> RunInfo:
    return RunInfo(
        run_id=run.id,
        run_uuid=run.id,
        run_name=run.name,
        experiment_id=str(run.experiment),
        user_id=run.actor,
        status=STATUSES[run.state],
        artifact_uri=run_root(experiment.artifacts, run.id),
        lifecycle_stage="active" if run.deleted_at is None else "deleted",
        start_time=None if run.started_at is None else millis(run.started_at),
        end_time=None if run.ended_at is None else millis(run.ended_at),
    )


def _answer(container: Container, run: Run) -> Answer:
    experiment = tracking.experiment(container, run.experiment)
    return Answer(_shown(container, [run], {experiment.id: experiment})[0])


def _create(container: Container, asked: Creation) -> Answer:
    started = None if asked.start_time is None else moment(asked.start_time, "start_time")
    run = tracking.create_run(
        container,
        experiment_id(asked.experiment_id),
        name=asked.run_name,
        actor=asked.user_id,
        started_at=started,
        tags=cut(mapped(asked.tags), limits.TAG),
    )
    return _answer(container, run)


def _get(container: Container, asked: ById) -> Answer:
    return _answer(container, tracking.run(container, run_of(asked)))


def _update(container: Container, asked: Change) -> Updated:
    run = tracking.update_run(
        container,
        run_of(asked),
        state=state_of(asked.status) if asked.status != "" else None,
        ended_at=None if asked.end_time is None else moment(asked.end_time, "end_time"),
        name=asked.run_name,
    )
    return Updated(_info(run, tracking.experiment(container, run.experiment)))


def _delete(container: Container, asked: ById) -> None:
    tracking.delete_run(container, run_of(asked))


def _restore(container: Container, asked: ById) -> None:
    tracking.restore_run(container, run_of(asked))


def _search(container: Container, asked: Search) -> Page:
    check_limit(asked.max_results)
    ids = [experiment_id(text) for text in asked.experiment_ids]
    scope = (("experiment", "in", ids), *view_of(asked.run_view_type, "run_view_type"))
    page = search(
        container,
        RUNS,
        asked.filter,
        scope=scope,
        order_by=asked.order_by,
        limit=asked.max_results,
        token=asked.page_token,
        gives=Listed,
    )
    experiments = {one.id: one for one in container.store.find(Experiment, ("id", "in", ids))}
    return Page(_shown(container, page.items, experiments), page.token)


_AT: Final = "2.0/mlflow/runs/"
ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint("GET", _AT + "get", ById, _get),
    Endpoint("POST", _AT + "search", Search, _search),
    Endpoint("POST", _AT + "create", Creation, _create),
    Endpoint("POST", _AT + "update", Change, _update),
    Endpoint("POST", _AT + "delete", ById, _delete),
    Endpoint("POST", _AT + "restore", ById, _restore),
)
