"""The calls about registered models and the aliases of their versions."""

from __future__ import annotations

from typing import Final

import msgspec

from homeostat.app.container import Container
from homeostat.app.registry import aliases, models, reading
from homeostat.app.registry.reading import ModelShown
from homeostat.app.registry.search import search_models
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.server.mlflow.reading import Int64, Named
from homeostat.server.mlflow.values import Tag, mapped, millis, pairs
from homeostat.server.mlflow.versions import FoundVersion, ShownVersion, limit_of, number_of, shown_version
from homeostat.server.mlflow.wire import Endpoint


class ShownAlias(msgspec.Struct, frozen=True):
    """An alias and the version that it points to."""

    alias: str
    version: str


class ShownModel(msgspec.Struct, frozen=True, omit_defaults=True):
    """A registered model as clients see it; ``latest_versions`` has the newest of each label."""

    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str = ""
    latest_versions: list[ShownVersion] = []
    tags: list[Tag] = []
    aliases: list[ShownAlias] = []


class FoundModel(msgspec.Struct, frozen=True):
    """The answer that holds one registered model."""

    registered_model: ShownModel


class FoundVersions(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer that holds versions."""

    model_versions: list[ShownVersion] = []


class Page(msgspec.Struct, frozen=True, omit_defaults=True):
    """``registered-models/search``, the answer."""

    registered_models: list[ShownModel] = []
    next_page_token: str = ""


class Registration(msgspec.Struct, frozen=True):
    """``registered-models/create``."""

    name: Named
    tags: list[Tag] = []
    description: str = ""


class ByName(msgspec.Struct, frozen=True):
    """``registered-models/get`` and ``delete``."""

    name: Named


class Renaming(msgspec.Struct, frozen=True):
    """``registered-models/rename``."""

    name: Named
    new_name: Named


class Describing(msgspec.Struct, frozen=True):
    """``registered-models/update``."""

    name: Named
    description: str = ""


class Search(msgspec.Struct, frozen=True):
    """``registered-models/search``."""

    filter: str = ""
    max_results: Int64 = 100
    order_by: list[str] = []
    page_token: str = ""


class Latest(msgspec.Struct, frozen=True):
    """``registered-models/get-latest-versions``."""

    name: Named
    stages: list[str] = []


class Tagging(msgspec.Struct, frozen=True):
    """``registered-models/set-tag``."""

    name: Named
    key: Named
    value: str = ""


class Untagging(msgspec.Struct, frozen=True):
    """``registered-models/delete-tag``."""

    name: Named
    key: Named


class Pointing(msgspec.Struct, frozen=True):
    """``registered-models/alias``, to set one."""

    name: Named
    alias: Named
    version: Named


class ByAlias(msgspec.Struct, frozen=True):
    """``registered-models/alias``, to look one up or take it away."""

    name: Named
    alias: Named


def shown_model(model: ModelShown) -> ShownModel:
    """A registered model as clients see it."""
    record = model.record
    return ShownModel(
        name=record.name,
        creation_timestamp=millis(record.created_at),
        last_updated_timestamp=millis(record.updated_at),
        description=record.description,
        latest_versions=[shown_version(version) for version in model.latest],
        tags=pairs(model.tags),
        aliases=[ShownAlias(alias, str(model.aliases[alias])) for alias in sorted(model.aliases)],
    )


def _create(container: Container, asked: Registration) -> FoundModel:
    made = models.register(container, asked.name, description=asked.description, tags=mapped(asked.tags))
    return FoundModel(shown_model(made))


def _get(container: Container, asked: ByName) -> FoundModel:
    return FoundModel(shown_model(reading.model(container.store, asked.name)))


def _rename(container: Container, asked: Renaming) -> FoundModel:
    return FoundModel(shown_model(models.rename(container, asked.name, asked.new_name)))


def _update(container: Container, asked: Describing) -> FoundModel:
    return FoundModel(shown_model(models.describe(container, asked.name, asked.description)))


def _delete(container: Container, asked: ByName) -> None:
    models.delete(container, asked.name)


def _search(container: Container, asked: Search) -> Page:
    found = search_models(
        container,
        asked.filter,
        order_by=asked.order_by,
        limit=limit_of(asked.max_results, _LARGEST_PAGE),
        token=asked.page_token,
    )
    return Page([shown_model(model) for model in found.items], found.token)


def _latest(container: Container, asked: Latest) -> FoundVersions:
    found = reading.latest(container.store, asked.name, asked.stages)
    return FoundVersions([shown_version(version) for version in found])


def _set_tag(container: Container, asked: Tagging) -> None:
    models.tag(container, asked.name, asked.key, asked.value)


def _delete_tag(container: Container, asked: Untagging) -> None:
    models.untag(container, asked.name, asked.key)


def _set_alias(container: Container, asked: Pointing) -> None:
    aliases.set_alias(container, asked.name, asked.alias, number_of(asked.version))


def _delete_alias(container: Container, asked: ByAlias) -> None:
    aliases.drop_alias(container, asked.name, asked.alias)


def _by_alias(container: Container, asked: ByAlias) -> FoundVersion:
    found = reading.by_alias(container.store, asked.name, asked.alias)
    if found is not None:
        return FoundVersion(shown_version(found))
    if asked.alias.lower() == "latest":
        raise NotFound(f"Latest version not found for model {asked.name}.")
    raise BadRequest(f"Registered model alias {asked.alias} not found.", field="alias")


_LARGEST_PAGE: Final = 1000
_MODELS: Final = "2.0/mlflow/registered-models/"
ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint("POST", f"{_MODELS}create", Registration, _create),
    Endpoint("GET", f"{_MODELS}get", ByName, _get),
    Endpoint("POST", f"{_MODELS}rename", Renaming, _rename),
    Endpoint("PATCH", f"{_MODELS}update", Describing, _update),
    Endpoint("DELETE", f"{_MODELS}delete", ByName, _delete),
    Endpoint("GET", f"{_MODELS}search", Search, _search),
    Endpoint("GET", f"{_MODELS}get-latest-versions", Latest, _latest),
    Endpoint("POST", f"{_MODELS}get-latest-versions", Latest, _latest),
    Endpoint("POST", f"{_MODELS}set-tag", Tagging, _set_tag),
    Endpoint("DELETE", f"{_MODELS}delete-tag", Untagging, _delete_tag),
    Endpoint("POST", f"{_MODELS}alias", Pointing, _set_alias),
    Endpoint("DELETE", f"{_MODELS}alias", ByAlias, _delete_alias),
    Endpoint("GET", f"{_MODELS}alias", ByAlias, _by_alias),
)
