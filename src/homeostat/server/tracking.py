"""Tracking as Homeostat's own clients speak it: frames of a spool in, each taken once; runs with what is theirs out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from homeostat.app.tracking import curves, streams, summaries
from homeostat.app.tracking.files import RunFile, run_files
from homeostat.app.tracking.search import View
from homeostat.app.tracking.values import LoggedValue, logged_values
from homeostat.domain.errors import BadRequest
from homeostat.server.calls import Call

if TYPE_CHECKING:
    from homeostat.app.container import Container


class Search(msgspec.Struct, forbid_unknown_fields=True):
    """Which runs are wanted."""

    filter: str = ""
    experiments: list[str] = []
    order_by: list[str] = []
    view: View = "active"
    limit: int = 100
    token: str = ""


class Choice(msgspec.Struct, forbid_unknown_fields=True):
    """By what the best run is chosen."""

    metric: str
    goal: summaries.Goal = "min"
    filter: str = ""
    experiments: list[str] = []


def position(container: Container, call: Call) -> streams.Taken:
    """How far a stream of a run was taken: ``GET /runs/{id}/log?stream=``."""
    run, stream = call.path["id"], _stream(call)
    return streams.Taken(streams.position(container, run, stream))


def take(container: Container, call: Call) -> streams.Taken:
    """Take frames: ``POST /runs/{id}/log?stream=&after=``."""
    run, stream = call.path["id"], _stream(call)
    return streams.take(container, run, stream, call.number("after", 0), call.body)


def search(container: Container, call: Call) -> summaries.Found:
    """Find runs: ``POST /runs/search``."""
    return summaries.find(container, **msgspec.structs.asdict(call.read(Search)))


def best(container: Container, call: Call) -> summaries.Best:
    """Choose a run: ``POST /runs/best``."""
    return summaries.best(container, **msgspec.structs.asdict(call.read(Choice)))


def summary(container: Container, call: Call) -> summaries.RunSummary:
    """A run with what was logged to it: ``GET /runs/{id}/summary``."""
    return summaries.summary(container, call.path["id"].removeprefix("run/"))


def points(container: Container, call: Call) -> curves.Points:
    """The points of a metric: ``GET /runs/{id}/points?key=&axis=``."""
    key = call.query.get("key", "")
    if not key:
        raise BadRequest("no metric is named", field="key", remedy="Give ?key=")
    return curves.points(container, call.path["id"].removeprefix("run/"), key, call.query.get("axis", ""))


def all_points(container: Container, call: Call) -> curves.Heap:
    """The points of the metrics after one: ``GET /runs/{id}/points/all?after=``."""
    return curves.all_points(container, call.path["id"].removeprefix("run/"), call.query.get("after", ""))


def values(container: Container, call: Call) -> list[LoggedValue]:
    """What is logged beside numbers: ``GET /runs/{id}/values?key=``."""
    return logged_values(container, call.path["id"].removeprefix("run/"), call.query.get("key", ""))


def files(container: Container, call: Call) -> list[RunFile]:
    """Every file below a folder: ``GET /runs/{id}/files?path=``."""
    return run_files(container, call.path["id"].removeprefix("run/"), call.query.get("path", ""))


def _stream(call: Call) -> str:
    name = call.query.get("stream", "")
    if not name:
        raise BadRequest("no stream is named", field="stream", remedy="Give ?stream=")
    return name
