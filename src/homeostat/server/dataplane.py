"""The data plane over HTTP: predictions and health on the open port, control on a private socket.

``python -m homeostat.server.dataplane --worker ID`` runs one worker (see ``homeostat.server.worker``).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

import msgspec

from homeostat.domain.errors import BadRequest, StoreUnavailable
from homeostat.server.http import Disconnected, HttpError, Receive, Scope, Send, encode, read_body, respond

if TYPE_CHECKING:
    from homeostat.engine.serving.endpoint import Endpoint
    from homeostat.engine.serving.plane import Plane
    from homeostat.engine.serving.predictions import Prediction

BODY_LIMIT: Final = 4 << 20
_PREDICT: Final = "/predict/"

_log = logging.getLogger(__name__)


class Answer(msgspec.Struct):
    """The answer to one row."""

    prediction_id: str
    deployment: str
    version: int
    arm: str
    score: float | None


class Answers(msgspec.Struct):
    """The answer to ``instances``, in their order."""

    deployment: str
    predictions: list[Answer] | list[Explained]


class Explained(Answer):
    """An answer with what it was computed from.

    Args:
        features: Each feature by name; null where it is missing.
        as_of: By feature view, when the newest row behind the features became visible.
        age_seconds: By feature view, how old that was at the time of the request.
    """

    features: dict[str, Any]
    as_of: dict[str, datetime | None]
    age_seconds: dict[str, float | None]


class DataPlane:
    """The ASGI applications of one worker: ``public`` for clients, ``private`` for the control process.

    Args:
        plane: What answers.
        body_limit: The largest request body in bytes.
    """

    def __init__(self, plane: Plane, *, body_limit: int = BODY_LIMIT) -> None:
        self.plane = plane
        self.body_limit = body_limit
        self.requests: dict[int, int] = {}
        self._pages: dict[str, Callable[[], tuple[int, bytes]]] = {
            "/health": lambda: (200, b'{"status":"live"}'),
            "/ready": self._ready,
            "/stats": lambda: (200, encode(self.stats())),
        }

    async def public(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer on the open port."""
        path: str = scope["path"]
        if path.startswith(_PREDICT):
            await self._guarded(self._predict, scope, receive, send)
        else:
            await self._guarded(self._page, scope, receive, send)

    async def private(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer on the private socket: the pages, and ``POST /-/sync``."""
        handler = self._sync if scope["path"] == "/-/sync" else self._page
        await self._guarded(handler, scope, receive, send)

    def stats(self) -> dict[str, Any]:
        """What this worker has done and how it stands."""
        return {
            "pid": os.getpid(),
            "ready": self.plane.ready,
            "requests": {str(status): count for status, count in sorted(self.requests.items())},
            "log": self.plane.log.counts,
            "errors": self.plane.errors,
            "deployments": {
                name: {
                    "generation": endpoint.live.generation,
                    "arms": [
                        {"version": arm.version, "role": arm.role, "weight": arm.weight}
                        for arm in endpoint.live.routes.arms
                    ],
                    "waiting": endpoint.waiting,
                    "threaded": endpoint.threaded,
                    **msgspec.structs.asdict(endpoint.counts),
                }
                for name, endpoint in self.plane.endpoints.items()
            },
        }

    async def _guarded(
        self,
        handler: Callable[[Scope, Receive], Awaitable[tuple[int, bytes]]],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        headers = None
        try:
            status, body = await handler(scope, receive)
        except HttpError as error:
            status, body, headers = error.status, error.body(), error.headers
        except Disconnected:
            return
        except Exception:  # noqa: BLE001 - the client gets an answer, the log the cause
            _log.exception("request failed: %s %s", scope["method"], scope["path"])
            failure = HttpError(500, "internal", "the server failed", remedy="See the worker's log")
            status, body = failure.status, failure.body()
        self.requests[status] = self.requests.get(status, 0) + 1
        await respond(send, status, body, headers)

    async def _page(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        page = self._pages.get(scope["path"])
        if page is None:
            raise HttpError(
                404, "not_found", "there is nothing here", remedy="Use POST /predict/{deployment}"
            )
        _only(scope, "GET", "HEAD")
        return page()

    def _ready(self) -> tuple[int, bytes]:
        plane = self.plane
        if plane.ready:
            return 200, encode({"status": "ready", "generation": plane.generations, "errors": plane.errors})
        why = plane.trouble or "a deployment has no version that can answer"
        raise HttpError(503, "not_ready", why, remedy="Wait, or see errors", extra={"errors": plane.errors})

    async def _sync(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        _only(scope, "POST")
        try:
            return 200, encode(await self.plane.sync())
        except StoreUnavailable as error:
            raise HttpError(503, "store_unavailable", error.message, remedy=error.remedy) from error

    async def _predict(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        plane = self.plane
        started = plane.clock.monotonic()
        at = plane.clock.now()
        name: str = scope["path"][len(_PREDICT) :]
        if name not in plane.endpoints:
            raise self._nowhere(name)
        if scope["method"] != "POST":
            _only(scope, "POST")
        explain = _explain(scope["query_string"]) if scope["query_string"] else False
        body = await read_body(scope, receive, self.body_limit)
        endpoint = plane.endpoints.get(name)  # it may have been taken away while the body came
        if endpoint is None:
            raise self._nowhere(name)
        live = endpoint.live
        try:
            rows, many = live.reader.read(body)
        except BadRequest as error:
            code = "invalid_json" if type(error) is not BadRequest else "invalid_request"
            raise HttpError(400, code, error.message, field=error.field, remedy=error.remedy) from None
        try:
            items = await endpoint.submit(rows, live, at, started)
        except asyncio.QueueFull:
            raise _overloaded(endpoint) from None
        if items[0].status != 200:
            raise _failed(items, many)
        if explain:
            answers: list[Answer] | list[Explained] = [_explained(name, item) for item in items]
        else:
            answers = [
                Answer(item.id, name, item.answered.version, item.answered.role, item.score) for item in items
            ]
        return 200, encode(Answers(name, answers) if many else answers[0])

    def _nowhere(self, name: str) -> HttpError:
        if self.plane.known(name) or self.plane.trouble:
            return HttpError(
                503,
                "not_ready",
                self.plane.errors.get(name, "") or f"deployment/{name} has no version that can answer yet",
                remedy="Try again shortly",
                headers=[(b"retry-after", b"1")],
            )
        known = ", ".join(sorted(self.plane.endpoints)) or "none yet"
        return HttpError(
            404, "unknown_deployment", f"there is no deployment/{name}", remedy=f"Known: {known}"
        )


def _only(scope: Scope, *methods: str) -> None:
    if scope["method"] not in methods:
        allowed = ", ".join(methods)
        raise HttpError(
            405,
            "method_not_allowed",
            f"{scope['method']} is not for {scope['path']}",
            remedy=f"Use {allowed}",
            headers=[(b"allow", allowed.encode())],
        )


def _explain(query: bytes) -> bool:
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("explain")
    if values is None:
        return False
    if values != ["features"]:
        raise HttpError(
            400,
            "invalid_request",
            f"cannot explain {values[-1][:50]!r}",
            field="explain",
            remedy="Use explain=features",
        )
    return True


def _explained(name: str, item: Prediction) -> Explained:
    scored, index = item.scored, item.index
    assert scored is not None
    as_of = {view: times[index] for view, times in scored.as_of.items()}
    return Explained(
        prediction_id=item.id,
        deployment=name,
        version=item.answered.version,
        arm=item.answered.role,
        score=item.score,
        features=scored.X.row(index, named=True),
        as_of=as_of,
        age_seconds={v: None if t is None else (item.time - t).total_seconds() for v, t in as_of.items()},
    )


def _failed(items: list[Prediction], many: bool) -> HttpError:
    place, item = next((n, item) for n, item in enumerate(items) if item.error is not None)
    kind = {422: "unprocessable_row", 503: "features_unavailable"}.get(item.status, "prediction_failed")
    field = getattr(item.error, "field", "")
    if many:
        field = f"instances[{place}].{field}" if field else f"instances[{place}]"
    return HttpError(
        item.status,
        kind,
        f"the model could not score this row: {type(item.error).__name__}: {item.error}"[:500],
        field=field,
        remedy="Correct the row" if item.status == 422 else "Try again; the failure is in the prediction log",
        extra={"prediction_id": item.id},
    )


def _overloaded(endpoint: Endpoint) -> HttpError:
    return HttpError(
        503,
        "overloaded",
        f"{endpoint.waiting} rows wait already",
        remedy="Try again shortly, or run more workers",
        headers=[(b"retry-after", b"1")],
    )


if __name__ == "__main__":
    from homeostat.server.worker import main

    main()
