"""The control API as OpenAPI 3.1: of every route what it does, takes and gives. A route that is not here is a mistake.

Bodies and answers are described from the very types that are read and written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from starlette.convertors import IntegerConvertor
from starlette.routing import Route

from homeostat.app.approvals import Standing
from homeostat.app.attributing import Explanation, Importance
from homeostat.app.controller import Tick
from homeostat.app.deliveries import Ingested
from homeostat.app.messages import Received
from homeostat.app.outcomes import Labelled
from homeostat.app.reasons import Reason
from homeostat.app.registry.reading import ModelShown, VersionShown
from homeostat.app.registry.reports import Compared, Live, Model, Models
from homeostat.app.replaying import Replay
from homeostat.app.shadows import Agreement
from homeostat.app.signatures import Signatures
from homeostat.app.slos import Standing as LevelsStanding
from homeostat.app.telling import AlertShown, ChannelStanding
from homeostat.app.tracking import curves, streams, summaries
from homeostat.app.tracking.files import RunFile
from homeostat.app.tracking.values import LoggedValue
from homeostat.app.tried import Tried
from homeostat.domain import records
from homeostat.domain.events import Event, Verdict
from homeostat.domain.incidents import Incident
from homeostat.domain.numbers import INFINITE
from homeostat.domain.release import VERSION
from homeostat.engine.monitoring.quality import Quality
from homeostat.engine.registry.card import Card
from homeostat.engine.registry.signing import Signed
from homeostat.server import alerts, calls, events, rollouts, tracking
from homeostat.server.http import Problem

_REFERENCE: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"
_FRAMES: Final = "application/vnd.homeostat.frames"
_BINARY: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
_MESSAGE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["id", "source", "type", "specversion"],
    "properties": {
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "minLength": 1},
        "type": {"type": "string", "minLength": 1},
        "specversion": {"const": "1.0"},
        "subject": {"type": "string"},
        "time": {"type": "string", "format": "date-time"},
        "data": {},
    },
}
_FAILURES: Final = {
    400: "Something in the request cannot be; the body says what.",
    403: "The request is for another host, or a page of another origin sent it.",
    404: "There is no such thing.",
    409: "It cannot be done as things stand.",
    413: "The body is too large.",
    422: "It breaks a contract or a rule of safety.",
    503: "A store does not answer.",
}

Schema = dict[str, Any]


class Refused(msgspec.Struct):
    """The body of an error."""

    error: Problem


class Now(msgspec.Struct):
    """What the clock shows."""

    now: datetime


class Operation(NamedTuple):
    """What a route does.

    Args:
        text: A sentence.
        gives: The type of the answer; a media type for one that is no JSON.
        takes: The type of the body, by media type where it is not JSON alone; None: there is none.
        query: Parameters by name: the schema of each.
        needs: The parameters that must be given.
    """

    text: str
    gives: Any = dict[str, Any]
    takes: Any = None
    query: Mapping[str, Schema] = {}
    needs: tuple[str, ...] = ()


_TEXT: Final[Schema] = {"type": "string"}
_TEXTS: Final[Schema] = {"type": "array", "items": {"type": "string"}}
_LIMIT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": calls.MOST, "default": 20}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1, "default": 0}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_ROWS: Final = {_JSON: list[dict[str, Any]], calls.ARROW: _BINARY}

OPERATIONS: Final[Mapping[str, Operation]] = {
    "GET /openapi.json": Operation("This description."),
    "GET /health": Operation("Whether the server answers, and what its clock shows."),
    "GET /status": Operation("What is declared, what serves, what runs where, and what is wrong."),
    "POST /tick": Operation("Turn the controller once; under a simulated clock.", Tick),
    "POST /clock": Operation("Set the clock; a simulated one.", Now, calls.Moment),
    "POST /deliveries": Operation(
        "Deliver rows of several datasets, all or none.", list[Ingested], {_JSON: calls.Handed, calls.MSGPACK: _BINARY}
    ),
    "POST /datasets/{name}/rows": Operation(
        "Deliver rows; tag.NAME=VALUE marks them.", Ingested, _ROWS, {"token": _TEXT}
    ),
    "POST /datasets/{name}/seal": Operation(
        "Make a version of what has arrived.", records.DatasetVersion | None
    ),
    "GET /runs/{id}": Operation("A run's record.", records.Run),
    "GET /runs/{id}/summary": Operation("A run with all that was logged to it.", summaries.RunSummary),
    "GET /runs/{id}/points": Operation(
        "Every point of a metric, and where it lies on an axis.",
        curves.Points,
        query={"key": _TEXT, "axis": _TEXT},
        needs=("key",),
    ),
    "GET /runs/{id}/points/all": Operation(
        "Every point of every metric, some metrics at once.", curves.Heap, query={"after": _TEXT}
    ),
    "GET /runs/{id}/values": Operation(
        "Images, tables and the like: the latest under each name, or one with its detail.",
        list[LoggedValue],
        query={"key": _TEXT},
    ),
    "GET /runs/{id}/files": Operation(
        "Every file of a run below a folder; content is at /get-artifact.", list[RunFile], query={"path": _TEXT}
    ),
    "GET /runs/{id}/log": Operation(
        "How far a stream was taken.", streams.Taken, query={"stream": _TEXT}, needs=("stream",)
    ),
    "POST /runs/{id}/log": Operation(
        "Take frames of a stream, each once.",
        streams.Taken,
        {_FRAMES: _BINARY},
        {"stream": _TEXT, "after": _COUNT},
        ("stream",),
    ),
    "POST /runs/search": Operation("Find runs by the filter language.", summaries.Found, tracking.Search),
    "POST /runs/best": Operation("The best run by a metric, and why.", summaries.Best, tracking.Choice),
    "GET /models": Operation(
        "Find registered models.",
        Models,
        query={"filter": _TEXT, "order_by": _TEXTS, "limit": _LIMIT, "token": _TEXT},
    ),
    "GET /models/{name}": Operation("A model with its newest versions.", Model, query={"limit": _LIMIT}),
    "GET /models/{name}/live": Operation(
        "What an alias pointed to at a time.", Live, query={"at": _TIME, "alias": _TEXT}
    ),
    "GET /models/{name}/versions": Operation(
        "Every version of a model, the newest first.", list[records.ModelVersion]
    ),
    "GET /models/{name}/versions/{version}": Operation("A version, by number or alias.", VersionShown),
    "GET /models/{name}/versions/{version}/files": Operation(
        "The files of a version, as a tar file.",
        calls.TAR,
        query={"layout": {"type": "string", "enum": ["mlflow", "package"]}},
    ),
    "GET /models/{name}/versions/{version}/card": Operation("The model card of a version.", Card),
    "GET /models/{name}/versions/{version}/bom": Operation("The parts of a version, as CycloneDX."),
    "GET /models/{name}/versions/{version}/signatures": Operation(
        "The signatures of a version, each verified now.", Signatures
    ),
    "POST /models/{name}/versions/{version}/signatures": Operation(
        "Add a signature.", Signatures, calls.Vouching
    ),
    "GET /models/{name}/versions/{version}/bundles": Operation("The signatures as they were sent.", list[Signed]),
    "POST /models/{name}/versions/{version}/deprecate": Operation(
        "Deprecate a version from a time on.", VersionShown, calls.Ending
    ),
    "POST /models/{name}/versions/{version}/restore": Operation(
        "Take a deprecation back.", VersionShown, calls.Restoring
    ),
    "GET /models/{name}/versions/{version}/gates": Operation(
        "What its gates found.", list[records.GateResult]
    ),
    "GET /models/{name}/versions/{version}/approvals": Operation("Who agreed to a version.", Standing),
    "POST /models/{name}/versions/{version}/approve": Operation(
        "Agree to a version.", Standing, calls.Consent
    ),
    "POST /models/{name}/alias": Operation("Set an alias, or take it away.", ModelShown, calls.Pointing),
    "POST /models/{name}/mark": Operation(
        "Tag and describe a model or a version.", ModelShown, calls.Marking
    ),
    "GET /compare": Operation(
        "What differs between two versions.", Compared, query={"old": _TEXT, "new": _TEXT}, needs=("old", "new")
    ),
    "POST /models/{name}/import": Operation(
        "Register an MLflow model directory, sent as a tar file.", records.ModelVersion, {calls.TAR: _BINARY}
    ),
    "POST /models/{name}/train": Operation("Train a declared model.", records.Run, calls.Training),
    "POST /models/{name}/promote": Operation(
        "Make a version the one that serves.", records.Deployment, calls.Promotion
    ),
    "POST /deployments/{name}/rollback": Operation(
        "Serve what served before.", records.Deployment, calls.Return
    ),
    "POST /freeze": Operation(
        "Stop the loop: of a model, or of all.", records.Freeze, rollouts.Freezing
    ),
    "POST /unfreeze": Operation("Let the loop go on.", records.Freeze, rollouts.Freezing),
    "GET /deployments/{name}/rollouts": Operation(
        "What was tried out, with its evidence.", list[Tried], query={"limit": _LIMIT}
    ),
    "GET /deployments/{name}/quality": Operation(
        "How good its answers are, on the labels that have come.", Quality, query={"window": _TEXT}
    ),
    "GET /deployments/{name}/importance": Operation(
        "How much features matter over requests.", Importance, query={"window": _TEXT, "budget": _COUNT}
    ),
    "GET /deployments/{name}/shadow": Operation(
        "How far a shadow agrees with what was answered.", Agreement, query={"version": _COUNT}
    ),
    "POST /deployments/{name}/shadow": Operation(
        "Let a version score requests for comparison.", records.Deployment, rollouts.Shadowing
    ),
    "POST /deployments/{name}/shadow/stop": Operation(
        "Take shadows out.", records.Deployment, rollouts.Shadowless
    ),
    "POST /deployments/{name}/labels": Operation(
        "Say what became of predictions, by their ids.", Labelled, rollouts.Labels
    ),
    "GET /deployments": Operation("Deployments, and where to ask each.", list[records.Deployment]),
    "GET /alerts": Operation(
        "Alerts, the newest first.", list[records.Alert],
        query={
            "state": {"type": "string", "enum": ["", "open", "resolved"]},
            "limit": _LIMIT | {"default": calls.MOST},
        },
    ),
    "GET /alerts/{id}": Operation("An alert, and who was told of it.", AlertShown),
    "POST /alerts/{id}/acknowledge": Operation("Look after an alert.", records.Alert, alerts.Acknowledging),
    "GET /incidents": Operation(
        "What went wrong with deployments, from its onset to when it was healed.", list[Incident],
        query={"model": _TEXT, "limit": _LIMIT | {"default": 100}},
    ),
    "GET /silences": Operation(
        "Silences and maintenance windows.", list[records.Silence], query={"ended": {"type": "boolean"}}
    ),
    "POST /silences": Operation("Tell nobody of some alerts for a time.", records.Silence, alerts.Silencing),
    "POST /silences/{id}/end": Operation("End a silence.", records.Silence, alerts.Unsilencing),
    "GET /channels": Operation("Who is told of alerts.", list[ChannelStanding]),
    "GET /metrics": Operation("Prometheus' exposition.", "text/plain"),
    "POST /events": Operation(
        "Take CloudEvents that retraining rules wait for, each once.", Received,
        {events.STRUCTURED: _MESSAGE, events.BATCH: {"type": "array", "items": _MESSAGE}},
    ),
    "GET /slo": Operation("Service levels and error budgets.", list[LevelsStanding], query={"model": _TEXT}),
    "GET /why/{trigger}": Operation(
        "Why a model was trained again or not.", list[records.Evaluation],
        query={"limit": _LIMIT, "fired": {"type": "boolean"}},
    ),
    "GET /reasons/{ref}": Operation("Why a version, run, deployment or model is as it is.", Reason),
    "GET /lineage": Operation(
        "What a thing came from, and what came of it.",
        query={"ref": _TEXT, "direction": {"type": "string", "enum": ["up", "down", "both"]}},
        needs=("ref",),
    ),
    "GET /predictions/{id}/replay": Operation("A prediction computed again, as of then.", Replay),
    "GET /predictions/{id}/explanation": Operation(
        "What each feature adds to an answer.", Explanation, query={"budget": _COUNT}
    ),
    "GET /predictions/{id}": Operation("What stands behind a prediction."),
    "GET /ledger": Operation(
        "Events, the newest first.", list[Event], query={"subject": _TEXT, "kind": _TEXTS, "limit": _LIMIT}
    ),
    "GET /ledger/verify": Operation("Whether the chain of events holds.", Verdict),
}  # fmt: skip


def openapi(routes: Iterable[Route]) -> Schema:
    """The document.

    Args:
        routes: What the server answers, without the one for whatever is left.
    """
    found = list(routes)
    told = {name: OPERATIONS.get(name, Operation("")) for route in found for name in _named(route)}
    kinds = [Refused]
    for one in told.values():
        taken = one.takes.values() if isinstance(one.takes, dict) else [one.takes]
        kinds += [
            kind for kind in (one.gives, *taken) if kind is not None and not isinstance(kind, (str, dict))
        ]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    of = {repr(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: Schema = {}
    numbers = {
        route.path_format: [n for n, c in route.param_convertors.items() if isinstance(c, IntegerConvertor)]
        for route in found
    }
    for name, one in told.items():
        method, path = name.split(" ")
        paths.setdefault(path, {})[method.lower()] = _described(path, one, of, numbers.get(path, ()))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Homeostat: control", "version": VERSION},
        "paths": paths,
        "components": {"schemas": _with_infinities(components)},
    }


def _with_infinities(schema: Any) -> Any:
    """A schema in which numbers that may be infinite are so."""
    if isinstance(schema, dict):
        if INFINITE in schema:
            return {"anyOf": [{"type": "number"}, {"enum": schema[INFINITE]}]}
        return {name: _with_infinities(inner) for name, inner in schema.items()}
    return [_with_infinities(inner) for inner in schema] if isinstance(schema, list) else schema


def _named(route: Route) -> list[str]:
    return [f"{method} {route.path_format}" for method in sorted((route.methods or set()) - {"HEAD"})]


def _described(path: str, one: Operation, of: Mapping[str, Schema], numbers: Iterable[str]) -> Schema:
    within = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters: list[Schema] = [
        {"name": n, "in": "path", "required": True, "schema": _COUNT if n in numbers else _TEXT}
        for n in within
    ]
    parameters += [
        {"name": n, "in": "query", "required": n in one.needs, "schema": s} for n, s in one.query.items()
    ]
    binary = isinstance(one.gives, str)
    media, schema = (one.gives, _BINARY) if binary else (_JSON, of[repr(one.gives)])
    failed = {_JSON: {"schema": of[repr(Refused)]}}
    described: Schema = {
        "summary": one.text,
        "parameters": parameters,
        "responses": {"200": {"description": "Done.", "content": {media: {"schema": schema}}}}
        | {str(status): {"description": text, "content": failed} for status, text in _FAILURES.items()},
    }
    if one.takes is not None:
        taken = one.takes if isinstance(one.takes, dict) else {_JSON: one.takes}
        content = {
            media: {"schema": kind if isinstance(kind, dict) else of[repr(kind)]}
            for media, kind in taken.items()
        }
        described["requestBody"] = {"content": content, "required": True}
    return described
