"""What people say of models and versions in one go: tags and descriptions, for Homeostat's own clients."""

from __future__ import annotations

from collections.abc import Mapping

from homeostat.app.container import Container
from homeostat.app.registry import models, versions
from homeostat.app.registry.reading import resolve


def mark(
    container: Container,
    name: str,
    at: str = "",
    *,
    tags: Mapping[str, str | None] | None = None,
    description: str | None = None,
    actor: str = "user",
) -> None:
    """Tag and describe a model, or one version of it.

    Args:
        container: The ports.
        name: The model.
        at: The version's number, or an alias; empty: the model itself.
        tags: Values by name; None takes a tag off.
        description: What it is; None leaves it as it was.
        actor: Who says so.

    Raises:
        NotFound: there is no such model or version.
        BadRequest: a tag or the description cannot be.
    """
    number = resolve(container.store, name, at).record.version if at else 0
    models.check_tags({key: value for key, value in (tags or {}).items() if value is not None})
    for key, value in (tags or {}).items():
        if value is None and number:
            versions.untag(container, name, number, key, actor=actor)
        elif value is None:
            models.untag(container, name, key, actor=actor)
        elif number:
            versions.tag(container, name, number, key, value, actor=actor)
        else:
            models.tag(container, name, key, value, actor=actor)
    if description is not None and number:
        versions.describe(container, name, number, description, actor=actor)
    elif description is not None:
        models.describe(container, name, description, actor=actor)
