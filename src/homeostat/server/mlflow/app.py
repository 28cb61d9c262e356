"""The ASGI application of the MLflow protocol: calls run in the pool, so none holds up the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Final

from homeostat.domain.errors import BadRequest
from homeostat.server.http import Disconnected, HttpError, Receive, Scope, Send, patient, read_body, respond
from homeostat.server.mlflow import (
    artifacts,
    assessments,
    experiments,
    info,
    logged_models,
    logs,
    metrics,
    models,
    old_traces,
    otlp,
    runs,
    traces,
    versions,
)
from homeostat.server.mlflow.errors import answer_of, of_body
from homeostat.server.mlflow.wire import PREFIXES, Endpoint, Wire
from homeostat.server.room import Room

if TYPE_CHECKING:
    from homeostat.app.container import Container

_LARGEST: Final = 64 << 20
_BRIEF: Final = 64 << 10  # bytes of a body that the thread which reads requests may take the time for
_VERSION: Final = "/version"
ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *info.ENDPOINTS,
    *logs.ENDPOINTS,
    *runs.ENDPOINTS,
    *metrics.ENDPOINTS,
    *experiments.ENDPOINTS,
    *models.ENDPOINTS,
    *versions.ENDPOINTS,
    *artifacts.ENDPOINTS,
    *logged_models.ENDPOINTS,
    *traces.ENDPOINTS,
    *old_traces.ENDPOINTS,
    *assessments.ENDPOINTS,
)
_OUTSIDE: Final = frozenset({_VERSION, artifacts.OF_RUNS, artifacts.OF_VERSIONS, otlp.PATH})


class Mlflow:
    """Answers what lies under ``/api/`` and ``/ajax-api/``, ``/version``, ``/v1/traces``, and files of runs.

    Args:
        container: The ports.
        pool: Where calls run.
        room: Memory for bodies.
    """

    def __init__(self, container: Container, pool: Executor, room: Room) -> None:
        self._container = container
        self._room = room
        self._wire = Wire(container, ENDPOINTS)
        self._files = artifacts.Files(container, pool, self._room)
        self._pool = pool

    @staticmethod
    def answers(path: str) -> bool:
        """Whether a path is this protocol's."""
        return (
            path.startswith(PREFIXES)
            or path in _OUTSIDE
            or (path[:2] == "//" and Mlflow.answers(_once(path)))
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("//"):  # of a URI that ends with a slash
            scope = {**scope, "path": _once(scope["path"])}
        if scope["path"] == _VERSION:
            await respond(send, 200, info.VERSION.encode(), media_type=b"text/plain; charset=utf-8")
            return
        if (work := self._files.work_for(scope)) is not None:
            await work(scope, receive, send)
            return
        with self._room.share() as take:
            await self._answer(scope, receive, send, take)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, take: Callable[[int], None]) -> None:
        path = scope["path"].partition("api/")[2]
        query = scope["query_string"].decode("latin-1")
        try:
            body = await read_body(scope, patient(receive), _LARGEST, take)
        except HttpError as error:
            status, content = answer_of(of_body(error))
            await respond(send, status, content, error.headers)
            return
        except Disconnected:
            return
        loop = asyncio.get_running_loop()
        if (scope["method"], scope["path"]) == ("POST", otlp.PATH):
            status, content, kind = await loop.run_in_executor(
                self._pool, otlp.take, self._container, scope, body
            )
            await respond(send, status, content, media_type=kind.encode())
            return
        if scope["method"] == "POST" and not _is_json(scope):
            problem = BadRequest("Bad Request. Content-Type must be application/json.", field="Content-Type")
            await respond(send, *answer_of(problem))
            return
        await respond(send, *await self.answer(scope["method"], path, query, body))

    async def answer(self, method: str, path: str, query: str, body: bytes) -> tuple[int, bytes]:
        """The status and the JSON that answer a call; the path is what follows ``/api/``."""
        answered = None
        if len(body) <= _BRIEF:
            answered = await self._wire.soon(method, path, body)
            if answered is None:
                answered = self._wire.at_once(method, path, body)
        if answered is None:
            loop = asyncio.get_running_loop()
            answered = await loop.run_in_executor(self._pool, self._wire.call, method, path, query, body)
        return answered


def _once(path: str) -> str:
    return f"/{path.lstrip('/')}"


def _is_json(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"content-type":
            return bool(value.partition(b";")[0].strip().lower() == b"application/json")
    return False
