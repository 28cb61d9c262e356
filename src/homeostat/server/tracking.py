"""Tracking as Homeostat's own clients speak it: frames of a spool in, each taken once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from homeostat.app.tracking import streams
from homeostat.domain.errors import BadRequest
from homeostat.server.calls import Call

if TYPE_CHECKING:
    from homeostat.app.container import Container

FRAMES: Final = "application/vnd.homeostat.frames"


def position(container: Container, call: Call) -> streams.Taken:
    """How far a stream of a run was taken: ``GET /runs/{id}/log?stream=``."""
    run, stream = call.path["id"], _stream(call)
    return streams.Taken(streams.position(container, run, stream))


def take(container: Container, call: Call) -> streams.Taken:
    """Take frames: ``POST /runs/{id}/log?stream=&after=``."""
    run, stream = call.path["id"], _stream(call)
    return streams.take(container, run, stream, call.number("after", 0), call.body)


def _stream(call: Call) -> str:
    name = call.query.get("stream", "")
    if not name:
        raise BadRequest("no stream is named", field="stream", remedy="Give ?stream=")
    return name
