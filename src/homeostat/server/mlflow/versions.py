"""The calls about model versions. A number is a text on the wire, the ``label`` is called ``current_stage``."""

from __future__ import annotations

from typing import Final

import msgspec

from homeostat.app.container import Container
from homeostat.app.registry import deprecation, reading, versions
from homeostat.app.registry.reading import VersionShown
from homeostat.app.registry.search import search_versions
from homeostat.domain.errors import BadRequest
from homeostat.server.mlflow.reading import Int64, Named, invalid
from homeostat.server.mlflow.values import Tag, double, mapped, millis, pairs
from homeostat.server.mlflow.wire import Endpoint


class ShownMetric(msgspec.Struct, frozen=True):
    """What the loop measured of a version."""

    key: str
    value: float | str
    run_id: str


class ShownVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model version as clients see it; ``status_message`` tells how the loop stands to one of its own."""

    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    current_stage: str
    description: str
    source: str
    run_id: str
    run_link: str
    status: str
    user_id: str = ""
    status_message: str = ""
    model_id: str = ""
    tags: list[Tag] = []
    aliases: list[str] = []
    model_metrics: list[ShownMetric] = []


class FoundVersion(msgspec.Struct, frozen=True):
    """The answer that holds one version."""

    model_version: ShownVersion


class FoundUri(msgspec.Struct, frozen=True):
    """The answer that says where files are."""

    artifact_uri: str


class Page(msgspec.Struct, frozen=True, omit_defaults=True):
    """``model-versions/search``, the answer."""

    model_versions: list[ShownVersion] = []
    next_page_token: str = ""


class Creation(msgspec.Struct, frozen=True):
    """``model-versions/create``."""

    name: Named
    source: Named
    run_id: str | None = None
    tags: list[Tag] = []
    run_link: str = ""
    description: str = ""
    model_id: str | None = None


class ByNumber(msgspec.Struct, frozen=True):
    """``model-versions/get``, ``delete`` and ``get-download-uri``."""

    name: Named
    version: Named


class Search(msgspec.Struct, frozen=True):
    """``model-versions/search``."""

    filter: str = ""
    max_results: Int64 = 10_000
    order_by: list[str] = []
    page_token: str = ""


class Describing(msgspec.Struct, frozen=True):
    """``model-versions/update``."""

    name: Named
    version: Named
    description: str = ""


class Transition(msgspec.Struct, frozen=True):
    """``model-versions/transition-stage``."""

    name: Named
    version: Named
    stage: Named
    archive_existing_versions: bool = False


class Tagging(msgspec.Struct, frozen=True):
    """``model-versions/set-tag``."""

    name: Named
    version: Named
    key: Named
    value: str = ""


class Untagging(msgspec.Struct, frozen=True):
    """``model-versions/delete-tag``."""

    name: Named
    version: Named
    key: Named


def number_of(text: str) -> int:
    """The number that a version is.

    Raises:
        BadRequest: it is none.
    """
    try:
        return int(text)
    except ValueError as error:
        raise BadRequest(f"Parameter 'version' must be an integer, got '{text}'.", field="version") from error


def limit_of(asked: int, largest: int) -> int:
    """How many a page may have.

    Raises:
        BadRequest: not as many as were asked for.
    """
    if not 1 <= asked <= largest:
        raise invalid("max_results", asked, f"it must be a positive integer of at most {largest}")
    return asked


def shown_version(version: VersionShown) -> ShownVersion:
    """A version as clients see it."""
    record = version.record
    return ShownVersion(
        name=record.model,
        version=str(record.version),
        creation_timestamp=millis(record.created_at),
        last_updated_timestamp=millis(record.updated_at),
        current_stage=record.label,
        description=record.description,
        source=record.source,
        run_id=record.run,
        run_link=record.link,
        status="READY",
        user_id=record.actor,
        status_message=_standing(version),
        model_id=record.logged_model,
        tags=pairs(version.tags | _deprecation(version)),
        aliases=sorted(version.aliases),
        model_metrics=[
            ShownMetric(key, double(value), record.run) for key, value in sorted(record.metrics.items())
        ],
    )


def _standing(version: VersionShown) -> str:
    record, parts = version.record, []
    if record.stage != "registered":
        parts.append(f"{record.stage}: {record.stage_reason}" if record.stage_reason else record.stage)
    if version.deprecation is not None:
        parts.append(deprecation.told(version.deprecation))
    return "; ".join(parts)


def _deprecation(version: VersionShown) -> dict[str, str]:
    """A deprecation as tags, which is where the stock client's users look."""
    found = version.deprecation
    if found is None:
        return {}
    tags = {f"{_DEPRECATED}_on": f"{found.on:%Y-%m-%d}", f"{_DEPRECATED}_because": found.reason}
    return tags | ({"homeostat.use_instead": found.use} if found.use else {})


def _create(container: Container, asked: Creation) -> FoundVersion:
    made = versions.create(
        container,
        asked.name,
        asked.source,
        run=asked.run_id,
        logged_model=asked.model_id,
        tags=mapped(asked.tags),
        link=asked.run_link,
        description=asked.description,
    )
    return FoundVersion(shown_version(made))


def _get(container: Container, asked: ByNumber) -> FoundVersion:
    return FoundVersion(shown_version(reading.version(container.store, asked.name, number_of(asked.version))))


def _search(container: Container, asked: Search) -> Page:
    found = search_versions(
        container,
        asked.filter,
        order_by=asked.order_by,
        limit=limit_of(asked.max_results, _LARGEST_PAGE),
        token=asked.page_token,
    )
    return Page([shown_version(version) for version in found.items], found.token)


def _update(container: Container, asked: Describing) -> FoundVersion:
    number = number_of(asked.version)
    return FoundVersion(shown_version(versions.describe(container, asked.name, number, asked.description)))


def _transition(container: Container, asked: Transition) -> FoundVersion:
    moved = versions.label(
        container,
        asked.name,
        number_of(asked.version),
        asked.stage,
        archive=asked.archive_existing_versions,
    )
    return FoundVersion(shown_version(moved))


def _delete(container: Container, asked: ByNumber) -> None:
    versions.delete(container, asked.name, number_of(asked.version))


def _download_uri(container: Container, asked: ByNumber) -> FoundUri:
    return FoundUri(versions.download_uri(container, asked.name, number_of(asked.version)))


def _set_tag(container: Container, asked: Tagging) -> None:
    versions.tag(container, asked.name, number_of(asked.version), asked.key, asked.value)


def _delete_tag(container: Container, asked: Untagging) -> None:
    versions.untag(container, asked.name, number_of(asked.version), asked.key)


_DEPRECATED: Final = "homeostat.deprecated"
_LARGEST_PAGE: Final = 200_000
_VERSIONS: Final = "2.0/mlflow/model-versions/"
ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint("POST", f"{_VERSIONS}create", Creation, _create),
    Endpoint("GET", f"{_VERSIONS}get", ByNumber, _get),
    Endpoint("GET", f"{_VERSIONS}search", Search, _search),
    Endpoint("PATCH", f"{_VERSIONS}update", Describing, _update),
    Endpoint("POST", f"{_VERSIONS}transition-stage", Transition, _transition),
    Endpoint("DELETE", f"{_VERSIONS}delete", ByNumber, _delete),
    Endpoint("GET", f"{_VERSIONS}get-download-uri", ByNumber, _download_uri),
    Endpoint("POST", f"{_VERSIONS}set-tag", Tagging, _set_tag),
    Endpoint("DELETE", f"{_VERSIONS}delete-tag", Untagging, _delete_tag),
)
