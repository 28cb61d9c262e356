"""The data plane over HTTP: predictions and health on the open port, control on a private socket.

Which protocol answers follows from the path; each is a module of ``homeostat.server.protocols``.
``homeostat.server.worker`` runs it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from homeostat.domain.errors import StoreUnavailable
from homeostat.domain.release import VERSION
from homeostat.engine.serving.tracing import PARENT, STATE
from homeostat.server.http import (
    Disconnected,
    Headers,
    HttpError,
    Receive,
    Reply,
    Scope,
    Send,
    encode,
    header,
    only,
    respond,
)
from homeostat.server.origins import names, refusal
from homeostat.server.protocols import described, inference, mlflow, native, tensorflow
from homeostat.server.protocols.asking import TRACE, Asking
from homeostat.server.protocols.measures import Measures

if TYPE_CHECKING:
    from homeostat.engine.serving.plane import Plane
    from homeostat.engine.serving.predictions import Prediction
    from homeostat.engine.serving.tracing import Trace

BODY_LIMIT: Final = 16 << 20
ROUTES: Final = {
    "native": "/predict/{deployment}",
    "v2": "/v2/models/{deployment}/infer",
    "v1": "/v1/models/{deployment}:predict",
    "invocations": "/invocations",
}
"""By protocol, the route that predicts, as traces name it."""

Handler = Callable[[Asking, int, Scope, Receive], Awaitable[Reply]]
Wording = Callable[[HttpError], bytes]

_log = logging.getLogger(__name__)


class DataPlane:
    """The ASGI applications of one worker: ``public`` for clients, ``private`` for the control process.

    Args:
        plane: What answers.
        body_limit: The largest request body in bytes.
        host: The address that it listens on. On a loopback one, pages of other origins are refused.
    """

    def __init__(self, plane: Plane, *, body_limit: int = BODY_LIMIT, host: str = "") -> None:
        self.plane = plane
        self.body_limit = body_limit
        self._hosts = names(host)
        self.asking = Asking(plane)
        self.measures = Measures(plane)
        self._pages: dict[str, Callable[[], Awaitable[Reply]]] = {
            "/health": _live,
            "/ready": self._ready,
            "/ping": self._ready,
            "/version": _version,
            "/stats": self._stats,
            "/metrics": self._metrics,
            "/openapi.json": self._openapi,
        }
        self._protocols: tuple[tuple[str, str, Handler, Wording], ...] = (
            (inference.PREFIX, "v2", inference.answer, inference.problem),
            (tensorflow.PREFIX, "v1", tensorflow.answer, tensorflow.problem),
            (mlflow.PATH, "invocations", mlflow.answer, mlflow.problem),
        )

    def refusal(self, headers: Headers) -> HttpError | None:
        """Why what a page asks for is not answered; None where it is, or where this is no loopback address."""
        return None if self._hosts is None else refusal(headers, self._hosts)

    async def public(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer on the open port."""
        path: str = scope["path"]
        if header(scope, b"origin") and (refused := self.refusal(scope["headers"])) is not None:
            self.measures.count("page", refused.status, 0.0)
            await respond(send, refused.status, refused.body())
            return
        if path.startswith(native.PREFIX):
            await self._guarded("native", native.predict, HttpError.body, scope, receive, send)
            return
        for prefix, name, handler, wording in self._protocols:
            if path == prefix or path.startswith(prefix + "/"):
                await self._guarded(name, handler, wording, scope, receive, send)
                return
        await self._guarded("page", self._page, HttpError.body, scope, receive, send)

    def direct(
        self,
        name: str,
        query: bytes,
        body: bytes,
        reply: Callable[[Reply], None],
        trace: Trace | None = None,
    ) -> None:
        """Answer ``POST /predict/NAME`` by a callback; see ``homeostat.server.direct``."""
        taken: native.Taken | None = None
        began = self.plane.clock.monotonic()

        def done(found: list[Prediction] | Exception) -> None:
            try:
                if isinstance(found, Exception):
                    raise found
                assert taken is not None
                if trace is not None:
                    trace.took(found)
                made = taken.reply(found)
            except Exception as error:  # noqa: BLE001 - the client gets an answer
                made = self._failed(HttpError.body, error, f"POST {native.PREFIX}{name}")
            self.measures.count("native", made.status, self.plane.clock.monotonic() - began)
            if trace is not None:
                known = name if name in self.plane.endpoints else ""
                _end(trace, known, ROUTES["native"], f"{native.PREFIX}{name}", made.status)
                made = made._replace(headers=[*(made.headers or ()), trace.header])
            reply(made)

        try:
            taken = native.take(self.asking, name, query, body)
            self.asking.put(taken.found, taken.rows, done)
        except Exception as error:  # noqa: BLE001 - answered in the same way as what fails later
            done(error)

    async def private(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer on the private socket: the pages, and ``POST /-/sync``."""
        handler = self._sync if scope["path"] == "/-/sync" else self._page
        await self._guarded("page", handler, HttpError.body, scope, receive, send)

    def stats(self) -> dict[str, Any]:
        """What this worker has done and how it stands."""
        return {
            "pid": os.getpid(),
            "ready": self.plane.ready,
            "requests": {str(status): count for status, count in self.measures.by_status().items()},
            "log": self.plane.log.counts,
            "traces": self.plane.tracer.counts,
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
        self, protocol: str, handler: Handler, wording: Wording, scope: Scope, receive: Receive, send: Send
    ) -> None:
        began = self.plane.clock.monotonic()
        route = ROUTES.get(protocol, "") if scope["method"] == "POST" else ""
        trace = self.plane.tracer.begin(header(scope, PARENT), header(scope, STATE)) if route else None
        TRACE.set(trace)
        try:
            reply = await handler(self.asking, self.body_limit, scope, receive)
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 - the client gets an answer, the log the cause
            reply = self._failed(wording, error, f"{scope['method']} {scope['path']}")
        status, body, media_type, headers = reply
        if trace is not None:
            _end(trace, trace.deployment, route, scope["path"], status)
            headers = [*(headers or ()), trace.header]
        self.measures.count(protocol, status, self.plane.clock.monotonic() - began)
        await respond(send, status, body, headers, media_type=media_type)

    def _failed(self, wording: Wording, error: Exception, what: str) -> Reply:
        """The reply that says why there is no other: to the client, or where it is nothing to him in the log."""
        if isinstance(error, HttpError):
            return Reply(error.status, wording(error), headers=error.headers)
        _log.error("request failed: %s", what, exc_info=error)
        failure = HttpError(500, "internal", "the server failed", remedy="See the worker's log")
        return Reply(500, wording(failure))

    async def _page(self, asking: Asking, limit: int, scope: Scope, receive: Receive) -> Reply:
        page = self._pages.get(scope["path"])
        if page is None:
            raise HttpError(
                404, "not_found", "there is nothing here", remedy="Use POST /predict/{deployment}"
            )
        only(scope, "GET", "HEAD")
        return await page()

    async def _ready(self) -> Reply:
        await self.asking.ready()
        plane = self.plane
        return Reply(
            200, encode({"status": "ready", "generation": plane.generations, "errors": plane.errors})
        )

    async def _stats(self) -> Reply:
        return Reply(200, encode(self.stats()))

    async def _metrics(self) -> Reply:
        return Reply(200, self.measures.exposition(), b"text/plain; version=0.0.4; charset=utf-8")

    async def _openapi(self) -> Reply:
        return Reply(200, encode(described.openapi(self.plane)))

    async def _sync(self, asking: Asking, limit: int, scope: Scope, receive: Receive) -> Reply:
        only(scope, "POST")
        try:
            return Reply(200, encode(await self.plane.sync()))
        except StoreUnavailable as error:
            raise HttpError(503, "store_unavailable", error.message, remedy=error.remedy) from error


def _end(trace: Trace, deployment: str, route: str, path: str, status: int) -> None:
    """What is known of a request over HTTP by its end, under the names of OpenTelemetry's conventions."""
    told = {"http.request.method": "POST", "http.route": route, "url.path": path, "url.scheme": "http"}
    error = str(status) if status >= 500 else ""
    trace.answered(deployment, f"POST {route}", told | {"http.response.status_code": status}, error)


async def _live() -> Reply:
    return Reply(200, b'{"status":"live"}')


async def _version() -> Reply:
    return Reply(200, VERSION.encode(), b"text/plain; charset=utf-8")
