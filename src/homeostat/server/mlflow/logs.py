"""The calls that log to a run: metrics, parameters, tags, and the datasets and models that it read and made."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from homeostat.app import tracking
from homeostat.app.container import Container
from homeostat.app.tracking.runs import NAME_TAG
from homeostat.domain.errors import BadRequest
from homeostat.domain.tracking import RunInput
from homeostat.engine.tracking import limits
from homeostat.engine.tracking.points import Point
from homeostat.server.mlflow.reading import Int64, Named, run_of
from homeostat.server.mlflow.runs import DatasetInput, ModelInput, ModelOutput
from homeostat.server.mlflow.values import Tag, cut, mapped
from homeostat.server.mlflow.wire import Endpoint

_RENAMED: Final = {"model": "model_id", "dataset": "dataset_name", "digest": "dataset_digest"}
_MODEL_FIELDS: Final = ("run_id", "artifact_path", "utc_time_created", "flavors")


class LoggedPoint(Point, frozen=True, gc=False, rename=_RENAMED):
    """A point as clients send it, read straight into what is logged."""

    key: Named
    value: float
    timestamp: Int64
    step: Int64 = 0
    model: str = ""
    dataset: str = ""
    digest: str = ""


class LogMetric(LoggedPoint, frozen=True, gc=False, kw_only=True, rename=_RENAMED):
    """``runs/log-metric``."""

    run_id: str = ""
    run_uuid: str = ""


class LogPair(msgspec.Struct, frozen=True):
    """``runs/log-parameter`` and ``runs/set-tag``."""

    key: Named
    value: str = ""
    run_id: str = ""
    run_uuid: str = ""


class Untagging(msgspec.Struct, frozen=True):
    """``runs/delete-tag``."""

    run_id: Named
    key: Named


class LogBatch(msgspec.Struct, frozen=True):
    """``runs/log-batch``."""

    run_id: Named
    metrics: list[LoggedPoint] = []
    params: list[Tag] = []
    tags: list[Tag] = []


class LogInputs(msgspec.Struct, frozen=True):
    """``runs/log-inputs``."""

    run_id: Named
    datasets: list[DatasetInput] = []
    models: list[ModelInput] = []


class LogOutputs(msgspec.Struct, frozen=True):
    """``runs/outputs``."""

    run_id: Named
    models: Annotated[list[ModelOutput], msgspec.Meta(min_length=1)]


class LogModel(msgspec.Struct, frozen=True):
    """``runs/log-model``: what clients before MLflow 3 say of a model among a run's artifacts."""

    run_id: Named
    model_json: Named


def _tags(tags: list[Tag]) -> dict[str, str]:
    found = cut(mapped(tags), limits.TAG)
    if found.get(NAME_TAG) == "":  # no name is no new name
        del found[NAME_TAG]
    return found


def _metric(container: Container, asked: LogMetric) -> None:
    tracking.log(container, run_of(asked), metrics=[asked])


async def _metric_soon(container: Container, asked: LogMetric) -> bool:
    return await tracking.log_soon(container, run_of(asked), asked)


def _param(container: Container, asked: LogPair) -> None:
    limits.check_name(asked.key, "key")
    tracking.log(container, run_of(asked), params=cut({asked.key: asked.value}, limits.PARAM))


def _tag(container: Container, asked: LogPair) -> None:
    limits.check_name(asked.key, "key")
    tracking.log(container, run_of(asked), tags=_tags([Tag(asked.key, asked.value)]))


def _untag(container: Container, asked: Untagging) -> None:
    tracking.untag_run(container, asked.run_id, asked.key)


def _batch(container: Container, asked: LogBatch) -> None:
    limits.check_batch(len(asked.metrics), len(asked.params), len(asked.tags))
    if len(asked.metrics) == 1:  # which is else told without its place in the batch
        point = asked.metrics[0]
        limits.check_point(point.key, point.value, point.timestamp, point.step, "metrics[0]")
    params = limits.unique_params((param.key, param.value) for param in asked.params)
    tracking.log(
        container,
        asked.run_id,
        metrics=asked.metrics,
        params=cut(params, limits.PARAM),
        tags=_tags(asked.tags),
    )


def _inputs(container: Container, asked: LogInputs) -> None:
    datasets = [
        RunInput(
            run=asked.run_id,
            name=given.dataset.name,
            digest=given.dataset.digest,
            source_type=given.dataset.source_type,
            source=given.dataset.source,
            schema=given.dataset.schema,
            profile=given.dataset.profile,
            tags=mapped(given.tags),
        )
        for given in asked.datasets
    ]
    tracking.log_inputs(container, asked.run_id, datasets, models=[model.model_id for model in asked.models])


def _outputs(container: Container, asked: LogOutputs) -> None:
    made = {model.model_id: model.step for model in asked.models}
    tracking.log_outputs(container, asked.run_id, made)


def _model(container: Container, asked: LogModel) -> None:
    try:
        model = msgspec.json.decode(asked.model_json, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise BadRequest(
            f"Malformed model info. {asked.model_json[:100]!r} is not a valid JSON object: {error}",
            field="model_json",
        ) from error
    lacking = sorted(set(_MODEL_FIELDS) - set(model))
    if lacking:
        raise BadRequest(f"Model json is missing mandatory fields: {', '.join(lacking)}", field="model_json")
    tracking.note_model(container, asked.run_id, model)


_AT: Final = "2.0/mlflow/runs/"
ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint("POST", _AT + "log-metric", LogMetric, _metric, brief=True, soon=_metric_soon),
    Endpoint("POST", _AT + "log-batch", LogBatch, _batch),
    Endpoint("POST", _AT + "log-parameter", LogPair, _param, brief=True),
    Endpoint("POST", _AT + "set-tag", LogPair, _tag, brief=True),
    Endpoint("POST", _AT + "delete-tag", Untagging, _untag),
    Endpoint("POST", _AT + "log-inputs", LogInputs, _inputs),
    Endpoint("POST", _AT + "outputs", LogOutputs, _outputs),
    Endpoint("POST", _AT + "log-model", LogModel, _model),
)
