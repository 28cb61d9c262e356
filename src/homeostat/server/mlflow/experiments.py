"""The calls about experiments. An id is a number in the store and a text on the wire."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote, urlparse

import msgspec

from homeostat.app import tracking
from homeostat.app.container import Container
from homeostat.app.search import search
from homeostat.app.tracking.datasets import datasets_read
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.tracking import Experiment
from homeostat.engine.tracking import limits
from homeostat.engine.tracking.kinds import EXPERIMENTS
from homeostat.server.mlflow.reading import Int64, Named
from homeostat.server.mlflow.values import Tag, check_limit, mapped, millis, pairs, view_of
from homeostat.server.mlflow.wire import Endpoint

_LARGEST: Final = 2**63
_LOCATION: Final = 2048
_EXPERIMENTS: Final = 20
_SUMMARIES: Final = 1000


class ShownExperiment(msgspec.Struct, frozen=True, omit_defaults=True):
    """An experiment as clients see it; ``lifecycle_stage`` is ``active`` or ``deleted``."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    last_update_time: int
    creation_time: int
    tags: list[Tag] = []


class Found(msgspec.Struct, frozen=True):
    """The answer that holds one experiment."""

    experiment: ShownExperiment


class Creation(msgspec.Struct, frozen=True):
    """``experiments/create``."""

    name: Named
    artifact_location: str = ""
    tags: list[Tag] = []


class Created(msgspec.Struct, frozen=True):
    """The id of what was made."""

    experiment_id: str


class ById(msgspec.Struct, frozen=True):
    """``experiments/get``, ``delete`` and ``restore``."""

    experiment_id: Named


class ByName(msgspec.Struct, frozen=True):
    """``experiments/get-by-name``."""

    experiment_name: Named


class Renaming(msgspec.Struct, frozen=True):
    """``experiments/update``."""

    experiment_id: Named
    new_name: Named


class Tagging(msgspec.Struct, frozen=True):
    """``experiments/set-experiment-tag``."""

    experiment_id: Named
    key: Named
    value: str = ""


class Untagging(msgspec.Struct, frozen=True):
    """``experiments/delete-experiment-tag``."""

    experiment_id: Named
    key: Named


class Search(msgspec.Struct, frozen=True):
    """``experiments/search``."""

    max_results: Int64 = 0
    filter: str = ""
    order_by: list[str] = []
    view_type: int | str = "ACTIVE_ONLY"
    page_token: str = ""


class Page(msgspec.Struct, frozen=True, omit_defaults=True):
    """Experiments that were found."""

    experiments: list[ShownExperiment] = []
    next_page_token: str = ""


class SearchDatasets(msgspec.Struct, frozen=True):
    """``experiments/search-datasets``."""

    experiment_ids: list[str] = []


class Summary(msgspec.Struct, frozen=True, omit_defaults=True):
    """A dataset that runs of an experiment read."""

    experiment_id: str
    name: str
    digest: str
    context: str = ""


class Summaries(msgspec.Struct, frozen=True, omit_defaults=True):
    """The datasets that were found."""

    dataset_summaries: list[Summary] = []


def experiment_id(text: str) -> int:
    """The number that an experiment's id is.

    Raises:
        BadRequest: it is no number.
        NotFound: it is larger than any.
    """
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise BadRequest(
            f"Invalid experiment ID '{text}'. Experiment ID must be a valid integer.", field="experiment_id"
        )
    number = int(text) if len(digits) < 20 else _LARGEST
    if not -_LARGEST <= number < _LARGEST:
        raise NotFound(f"No Experiment with id={text} exists")
    return number


def shown(found: Experiment, tags: dict[str, str]) -> ShownExperiment:
    """An experiment as clients see it."""
    return ShownExperiment(
        experiment_id=str(found.id),
        name=found.name,
        artifact_location=found.artifacts,
        lifecycle_stage="active" if found.deleted_at is None else "deleted",
        last_update_time=millis(found.updated_at),
        creation_time=millis(found.created_at),
        tags=pairs(tags),
    )


def _found(container: Container, found: Experiment) -> Found:
    return Found(shown(found, tracking.experiment_tags(container, [found.id])[found.id]))


def _check_location(uri: str) -> None:
    parts = urlparse(uri)
    if parts.fragment or parts.params:
        raise BadRequest(
            "'artifact_location' URL can't include fragments or params.", field="artifact_location"
        )
    if ".." in unquote(parts.query):
        raise BadRequest("Invalid query string in 'artifact_location'", field="artifact_location")
    if uri.startswith("runs:"):
        raise BadRequest(
            f"Artifact location cannot be a runs:/ URI. Given: '{uri}'", field="artifact_location"
        )
    limits.check_length(uri, _LOCATION, "artifact_location")


def _create(container: Container, asked: Creation) -> Created:
    _check_location(asked.artifact_location)
    made = tracking.create_experiment(
        container, asked.name, artifacts=asked.artifact_location, tags=mapped(asked.tags)
    )
    return Created(str(made.id))


def _get(container: Container, asked: ById) -> Found:
    return _found(container, tracking.experiment(container, experiment_id(asked.experiment_id)))


def _get_by_name(container: Container, asked: ByName) -> Found:
    found = tracking.experiment_by_name(container, asked.experiment_name)
    if found is None:
        raise NotFound(f"Could not find experiment with name '{asked.experiment_name}'")
    return _found(container, found)


def _update(container: Container, asked: Renaming) -> None:
    tracking.rename_experiment(container, experiment_id(asked.experiment_id), asked.new_name)


def _delete(container: Container, asked: ById) -> None:
    tracking.delete_experiment(container, experiment_id(asked.experiment_id))


def _restore(container: Container, asked: ById) -> None:
    tracking.restore_experiment(container, experiment_id(asked.experiment_id))


def _tag(container: Container, asked: Tagging) -> None:
    limits.check_name(asked.key, "key")
    limits.check_length(asked.value, limits.EXPERIMENT_TAG, "value")
    tracking.tag_experiment(container, experiment_id(asked.experiment_id), asked.key, asked.value)


def _untag(container: Container, asked: Untagging) -> None:
    tracking.untag_experiment(container, experiment_id(asked.experiment_id), asked.key)


def _search(container: Container, asked: Search) -> Page:
    check_limit(asked.max_results)
    tracking.experiment(container, 0)  # the default one is there as soon as somebody looks
    page = search(
        container,
        EXPERIMENTS,
        asked.filter,
        scope=view_of(asked.view_type, "view_type"),
        order_by=asked.order_by,
        limit=asked.max_results,
        token=asked.page_token,
    )
    tags = tracking.experiment_tags(container, [found.id for found in page.items])
    return Page([shown(found, tags[found.id]) for found in page.items], page.token)


def _search_datasets(container: Container, asked: SearchDatasets) -> Summaries:
    ids = asked.experiment_ids
    if not ids:
        raise BadRequest(
            "SearchDatasets request must specify at least one experiment_id.", field="experiment_ids"
        )
    if len(ids) > _EXPERIMENTS:
        raise BadRequest(
            f"SearchDatasets request cannot specify more than {_EXPERIMENTS} experiment_ids."
            f" Received {len(ids)} experiment_ids.",
            field="experiment_ids",
        )
    found = datasets_read(container, [experiment_id(text) for text in ids], _SUMMARIES)
    return Summaries([Summary(str(one.experiment), one.name, one.digest, one.context) for one in found])


_AT: Final = "2.0/mlflow/experiments/"
ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint("POST", _AT + "create", Creation, _create),
    Endpoint("POST", _AT + "search", Search, _search),
    Endpoint("GET", _AT + "search", Search, _search),
    Endpoint("POST", _AT + "search-datasets", SearchDatasets, _search_datasets),
    Endpoint("GET", _AT + "get", ById, _get),
    Endpoint("GET", _AT + "get-by-name", ByName, _get_by_name),
    Endpoint("POST", _AT + "update", Renaming, _update),
    Endpoint("POST", _AT + "delete", ById, _delete),
    Endpoint("POST", _AT + "restore", ById, _restore),
    Endpoint("POST", _AT + "set-experiment-tag", Tagging, _tag),
    Endpoint("POST", _AT + "delete-experiment-tag", Untagging, _untag),
)
