"""The registry as Homeostat's own clients ask: models, versions, what was live at a time, what two differ in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from homeostat.app.registry import deprecation, marking, reading
from homeostat.app.registry.aliases import drop_alias, live_at, set_alias
from homeostat.app.registry.comparing import compare
from homeostat.app.registry.contents import whole_version
from homeostat.app.registry.reading import ModelShown, VersionShown
from homeostat.app.registry.reports import Compared, Live, Model, Models
from homeostat.app.registry.search import search_models
from homeostat.domain.errors import BadRequest
from homeostat.server.calls import Call, Ending, Marking, Pointing, Restoring

if TYPE_CHECKING:
    from homeostat.app.container import Container


def models(container: Container, call: Call) -> Models:
    """``GET /models?filter=&order_by=&limit=&token=``."""
    query = call.query
    page = search_models(
        container,
        query.get("filter", ""),
        order_by=query.getlist("order_by"),
        limit=call.limit(),
        token=query.get("token", ""),
    )
    return Models(page.items, page.token)


def model(container: Container, call: Call) -> Model:
    """``GET /models/{name}?limit=``."""
    name = call.path["name"]
    shown = reading.model(container.store, name)
    return Model(shown, reading.versions(container.store, name, limit=call.limit()))


def version(container: Container, call: Call) -> VersionShown:
    """``GET /models/{name}/versions/{version}``, a number or an alias: with what it is made of."""
    return whole_version(container, call.path["name"], call.path["version"])


def alias(container: Container, call: Call) -> ModelShown:
    """``POST /models/{name}/alias``: sets it, or takes it away."""
    said, name = call.read(Pointing), call.path["name"]
    if said.version is None:
        drop_alias(container, name, said.alias, actor=said.actor)
    else:
        set_alias(container, name, said.alias, said.version, actor=said.actor)
    return reading.model(container.store, name)


def mark(container: Container, call: Call) -> ModelShown:
    """``POST /models/{name}/mark``: tags and a description, of the model or a version."""
    said, name = call.read(Marking), call.path["name"]
    marking.mark(
        container, name, said.version, tags=said.tags, description=said.description, actor=said.actor
    )
    return reading.model(container.store, name)


def deprecate(container: Container, call: Call) -> VersionShown:
    """``POST /models/{name}/versions/{version}/deprecate``."""
    said = call.read(Ending)
    on = said.on if said.on.tzinfo else said.on.replace(tzinfo=UTC)
    name, at = call.path["name"], call.path["version"]
    return deprecation.deprecate(
        container, name, at, on=on, reason=said.reason, use=said.use, actor=said.actor
    )


def restore(container: Container, call: Call) -> VersionShown:
    """``POST /models/{name}/versions/{version}/restore``."""
    said = call.read(Restoring)
    name, at = call.path["name"], call.path["version"]
    return deprecation.undo(container, name, at, reason=said.reason, actor=said.actor)


def live(container: Container, call: Call) -> Live:
    """``GET /models/{name}/live?at=&alias=``."""
    return live_at(
        container, call.path["name"], _moment(call, container), call.query.get("alias", "champion")
    )


def compared(container: Container, call: Call) -> Compared:
    """``GET /compare?old=&new=``."""
    return compare(container, call.query.get("old", ""), call.query.get("new", ""))


def _moment(call: Call, container: Container) -> datetime:
    text = call.query.get("at", "")
    if not text:
        return container.clock.now()
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequest(
            f"at is {text!r}", field="at", remedy="Give a time as in 2013-05-01T12:00:00Z"
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)
