"""The calls about logged models, which MLflow has since version 3."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from homeostat.app import logged_models
from homeostat.app.container import Container
from homeostat.app.logged_models import STATUSES, LoggedModelData, Ordering, Status
from homeostat.domain.tracking import LoggedModel
from homeostat.server.mlflow.artifacts import Listed, listed
from homeostat.server.mlflow.experiments import experiment_id
from homeostat.server.mlflow.reading import Named, invalid
from homeostat.server.mlflow.values import Tag, double, mapped, millis, pairs
from homeostat.server.mlflow.wire import Endpoint

_STATUS: Final = "LOGGED_MODEL_"
_PAGE: Final = 50
_LARGEST_PAGE: Final = 1000


class ShownMetric(msgspec.Struct, frozen=True, omit_defaults=True):
    """The latest point of a metric about a model: of one run, on one dataset or on none."""

    key: str
    value: float | str
    timestamp: int
    step: int | None
    model_id: str
    run_id: str
    dataset_name: str = ""
    dataset_digest: str = ""


class Info(msgspec.Struct, frozen=True, omit_defaults=True):
    """A logged model without its parameters and metrics."""

    model_id: str
    experiment_id: str
    name: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    artifact_uri: str
    status: str
    model_type: str = ""
    source_run_id: str = ""
    status_message: str = ""
    tags: list[Tag] = []


class Data(msgspec.Struct, frozen=True, omit_defaults=True):
    """Parameters and metrics of a logged model."""

    params: list[Tag] = []
    metrics: list[ShownMetric] = []


class ShownModel(msgspec.Struct, frozen=True):
    """A logged model as clients see it."""

    info: Info
    data: Data


class Answer(msgspec.Struct, frozen=True):
    """The answer that holds one."""

    model: ShownModel


class Creation(msgspec.Struct, frozen=True):
    """``POST logged-models``."""

    experiment_id: Named
    name: str | None = None
    model_type: str = ""
    source_run_id: str = ""
    params: list[Tag] = []
    tags: list[Tag] = []


class Asked(msgspec.Struct, frozen=True):
    """``GET`` and ``DELETE logged-models/…``; ``allow_deleted`` is ``true`` or ``false``."""

    model_id: Named
    allow_deleted: str = "false"


class Finalization(msgspec.Struct, frozen=True):
    """``PATCH logged-models/…``; the status by its name or number."""

    model_id: Named
    status: str | int


class Params(msgspec.Struct, frozen=True):
    """``POST logged-models/…/params``."""

    model_id: Named
    params: list[Tag] = []


class Tagging(msgspec.Struct, frozen=True):
    """``PATCH logged-models/…/tags``."""

    model_id: Named
    tags: list[Tag] = []


class Untagging(msgspec.Struct, frozen=True):
    """``DELETE logged-models/…/tags/…``."""

    model_id: Named
    tag_key: Named


class OnDataset(msgspec.Struct, frozen=True):
    """A dataset on which metrics count."""

    dataset_name: str = ""
    dataset_digest: str = ""


class OrderBy(msgspec.Struct, frozen=True):
    """One term of an order."""

    field_name: Named
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""


class Search(msgspec.Struct, frozen=True):
    """``POST logged-models/search``."""

    experiment_ids: list[str]
    filter: str = ""
    datasets: list[OnDataset] = []
    max_results: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    order_by: list[OrderBy] = []
    page_token: str = ""


class Found(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of logged models, and the token of the next one."""

    models: list[ShownModel] = []
    next_page_token: str = ""


class Listing(msgspec.Struct, frozen=True):
    """``GET logged-models/…/artifacts/directories``."""

    model_id: Named
    artifact_directory_path: str = ""


def shown(model: LoggedModel, data: LoggedModelData) -> ShownModel:
    """A logged model as clients see it."""
    info = Info(
        model_id=model.id,
        experiment_id=str(model.experiment),
        name=model.name,
        creation_timestamp_ms=millis(model.created_at),
        last_updated_timestamp_ms=millis(model.updated_at),
        artifact_uri=model.artifacts,
        status=_STATUS + model.status,
        model_type=model.type,
        source_run_id=model.run,
        status_message=model.status_message,
        tags=pairs(data.tags),
    )
    metrics = [
        ShownMetric(
            metric.key,
            double(metric.value),
            metric.timestamp,
            metric.step,
            metric.model,
            metric.run,
            metric.dataset,
            metric.digest,
        )
        for metric in data.metrics
    ]
    return ShownModel(info, Data(pairs(data.params), metrics))


def status_of(status: str | int) -> Status:
    """The status that a name or a number stands for.

    Raises:
        BadRequest: it stands for none.
    """
    named = {f"{_STATUS}{name}": name for name in STATUSES}
    numbered = {str(number): name for number, name in enumerate(STATUSES, 1)}
    found = (named | numbered).get(str(status))
    if found is None:
        raise invalid("status", status, f"use one of {', '.join(named)}")
    return found


def _answer(container: Container, model: LoggedModel) -> Answer:
    return Answer(shown(model, logged_models.logged_model_data(container, [model.id])[model.id]))


def _create(container: Container, asked: Creation) -> Answer:
    made = logged_models.create_logged_model(
        container,
        experiment_id(asked.experiment_id),
        name=asked.name or "",
        type=asked.model_type,
        run=asked.source_run_id,
        params=[(param.key, param.value) for param in asked.params],
        tags=mapped(asked.tags),
    )
    return _answer(container, made)


def _get(container: Container, asked: Asked) -> Answer:
    deleted = asked.allow_deleted.lower() == "true"
    return _answer(container, logged_models.logged_model(container, asked.model_id, deleted=deleted))


def _search(container: Container, asked: Search) -> Found:
    page = logged_models.search_logged_models(
        container,
        [experiment_id(id) for id in asked.experiment_ids],
        filter=asked.filter,
        datasets=[(one.dataset_name, one.dataset_digest) for one in asked.datasets],
        order=[
            Ordering(one.field_name, not one.ascending, (one.dataset_name, one.dataset_digest))
            for one in asked.order_by
        ],
        limit=min(asked.max_results or _PAGE, _LARGEST_PAGE),
        token=asked.page_token,
    )
    data = logged_models.logged_model_data(container, [model.id for model in page.items])
    return Found([shown(model, data[model.id]) for model in page.items], page.token)


def _finalize(container: Container, asked: Finalization) -> Answer:
    model = logged_models.finalize_logged_model(container, asked.model_id, status_of(asked.status))
    return _answer(container, model)


def _delete(container: Container, asked: Asked) -> None:
    logged_models.delete_logged_model(container, asked.model_id)


def _tag(container: Container, asked: Tagging) -> None:
    logged_models.tag_logged_model(container, asked.model_id, mapped(asked.tags))


def _untag(container: Container, asked: Untagging) -> None:
    logged_models.untag_logged_model(container, asked.model_id, asked.tag_key)


def _params(container: Container, asked: Params) -> None:
    params = [(param.key, param.value) for param in asked.params]
    logged_models.log_logged_model_params(container, asked.model_id, params)


def _list(container: Container, asked: Listing) -> Listed:
    model = logged_models.logged_model(container, asked.model_id)
    return listed(container, model.artifacts, asked.artifact_directory_path)


_AT: Final = "2.0/mlflow/logged-models"
_ONE: Final = _AT + "/{model_id}"
ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint("POST", _AT, Creation, _create),
    Endpoint("POST", _AT + "/search", Search, _search),
    Endpoint("GET", _ONE, Asked, _get),
    Endpoint("PATCH", _ONE, Finalization, _finalize),
    Endpoint("DELETE", _ONE, Asked, _delete),
    Endpoint("PATCH", _ONE + "/tags", Tagging, _tag),
    Endpoint("DELETE", _ONE + "/tags/{tag_key}", Untagging, _untag),
    Endpoint("POST", _ONE + "/params", Params, _params),
    Endpoint("GET", _ONE + "/artifacts/directories", Listing, _list),
)
