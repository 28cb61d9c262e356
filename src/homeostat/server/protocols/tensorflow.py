"""TensorFlow Serving's REST paths, which KServe calls version 1: ``/v1/models/NAME`` and ``:predict``.

Rows alone: ``{"instances": [row, …]}``. A row is an object of columns; for a model that takes one table, a list of
numbers. Where the model gives one output its value stands for the row, else an object of them. Errors are
``{"error": text}``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from homeostat.domain.errors import BadRequest
from homeostat.engine.serving.endpoint import Live
from homeostat.engine.serving.predictions import Prediction
from homeostat.engine.serving.tensors import value
from homeostat.server.http import HttpError, Receive, Reply, Scope, encode, only, read_body
from homeostat.server.protocols.asking import Asking, marks, refused
from homeostat.server.protocols.inference import problem

PREFIX: Final = "/v1/models"

__all__ = ["PREFIX", "answer", "problem"]


class Request(msgspec.Struct):
    """The body of a request."""

    instances: list[Any]
    signature_name: str | None = None


class Predictions(msgspec.Struct):
    """The body of an answer, in the order of the rows."""

    predictions: list[Any]


class State(msgspec.Struct):
    """How one version of a model stands."""

    version: str
    state: str
    status: dict[str, str]


class Status(msgspec.Struct):
    """Which versions of a model can answer, as TensorFlow Serving tells it; and that it can, as KServe does."""

    model_version_status: list[State]
    name: str
    ready: bool


class Models(msgspec.Struct):
    """KServe's list of models."""

    models: list[str]


_decode: Final = msgspec.json.Decoder(Request).decode


async def answer(asking: Asking, limit: int, scope: Scope, receive: Receive) -> Reply:
    """Answer a request below ``/v1/models``."""
    path: str = scope["path"].rstrip("/")
    if path == PREFIX:
        only(scope, "GET")
        return Reply(200, encode(Models(asking.plane.names)))
    target, colon, verb = path[len(PREFIX) + 1 :].partition(":")
    name, slash, version = target.partition("/versions/")
    if not path.startswith(PREFIX + "/") or (colon and verb != "predict") or (slash and not version):
        raise HttpError(
            404, "not_found", "there is nothing here", remedy="Use POST /v1/models/{model}:predict"
        )
    found = asking.find(name, version)
    if not colon:
        only(scope, "GET")
        versions = [version] if version else [str(arm.version) for arm in found.live.routes.arms]
        ok = {"error_code": "OK", "error_message": ""}
        return Reply(200, encode(Status([State(one, "AVAILABLE", ok) for one in versions], name, ready=True)))
    only(scope, "POST")
    body = await read_body(scope, receive, limit)
    found = asking.find(name, version)
    try:
        rows = found.live.reader.take(named(found.live, _instances(body)))
    except BadRequest as error:
        raise refused(error) from None
    items = await asking.ask(found, rows, many=True)
    answers = Predictions([_prediction(found.live, item) for item in items])
    return Reply(200, encode(answers), headers=marks(items))


def named(live: Live, rows: list[Any]) -> list[Any]:
    """Rows of a table with the names of its columns, and any others as they are.

    Raises:
        BadRequest: a row has another length.
    """
    if not live.table:
        return rows
    names = [column.name for column in live.reader.columns]
    made = []
    for place, row in enumerate(rows):
        if isinstance(row, dict) and row.keys() == {live.table}:
            row = row[live.table]
        if isinstance(row, list):
            if len(row) != len(names):
                raise BadRequest(
                    f"it has {len(row)} values, not {len(names)}",
                    field=f"[{place}]",
                    remedy="Send one for each feature",
                )
            row = dict(zip(names, row, strict=True))
        elif not isinstance(row, dict):
            raise BadRequest(
                "it is no row", field=f"[{place}]", remedy=f"Send a list of {len(names)} values for each row"
            )
        made.append(row)
    return made


def _instances(body: bytes) -> list[Any]:
    try:
        return _decode(body).instances
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)[:500], field="instances", remedy='Send {"instances": [row, …]}') from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON: {error}"[:500], remedy="NaN and infinity are none") from None


def _prediction(live: Live, item: Prediction) -> Any:
    if len(live.outputs) == 1:
        return value(live.outputs[0].name, item)
    return {one.name: value(one.name, item) for one in live.outputs}
