"""Searching registered models and versions. Prompts, which MLflow keeps there as well, are found where asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from homeostat.app.container import Container
from homeostat.app.registry.reading import ModelShown, VersionShown, show_models, show_versions
from homeostat.app.search import search
from homeostat.engine.tracking.kinds import MODELS, VERSIONS

T = TypeVar("T", ModelShown, VersionShown)


@dataclass(frozen=True)
class Page(Generic[T]):
    """What was found, in order, and the token of the next page; empty when this is the last."""

    items: list[T]
    token: str


def search_models(
    container: Container, filter: str = "", *, order_by: Sequence[str] = (), limit: int = 100, token: str = ""
) -> Page[ModelShown]:
    """A page of the registered models, by name where no order is asked for.

    Args:
        container: The ports.
        filter: Comparisons of name and tags, joined by AND.
        order_by: Terms such as ``last_updated_timestamp DESC``.
        limit: How many a page has at most.
        token: Where the page before ended; empty: the first.

    Raises:
        BadRequest: the filter, an order or the token cannot be.
    """
    page = search(container, MODELS, filter, order_by=order_by, limit=limit, token=token)
    return Page(show_models(container.store, page.items), page.token)


def search_versions(
    container: Container,
    filter: str = "",
    *,
    order_by: Sequence[str] = (),
    limit: int = 10_000,
    token: str = "",
) -> Page[VersionShown]:
    """A page of the versions, the last changed first where no order is asked for. Arguments as ``search_models``.

    Raises:
        BadRequest: the filter, an order or the token cannot be.
    """
    page = search(container, VERSIONS, filter, order_by=order_by, limit=limit, token=token)
    return Page(show_versions(container.store, page.items), page.token)
