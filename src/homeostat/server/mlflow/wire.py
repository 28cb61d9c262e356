"""From a request to a use case and back: every endpoint is a method, a path, a message and a function.

A GET carries its message in the query, all else as JSON. What has no endpoint is answered with ENDPOINT_NOT_FOUND,
upon which newer clients fall back on older calls.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from homeostat.domain.errors import Busy, HomeostatError
from homeostat.server.http import encode
from homeostat.server.mlflow.errors import MlflowError, answer_of
from homeostat.server.mlflow.reading import Reader

if TYPE_CHECKING:
    from homeostat.app.container import Container

PREFIXES: Final = ("/api/", "/ajax-api/")

_DONE: Final = (200, b"{}")

_log = logging.getLogger(__name__)


class Empty(msgspec.Struct, frozen=True):
    """The answer of a call that only does something."""


@dataclass(frozen=True)
class Endpoint:
    """One call of the protocol.

    Args:
        method: The HTTP method.
        path: What follows ``/api/``, as in ``2.0/mlflow/runs/get``; ``{name}`` stands for one segment, whose text
            becomes the field of that name.
        message: The request's fields.
        answer: Answers it; what it gives is sent as JSON, None as ``{}``, bytes as the JSON they are.
        brief: It is one short transaction, made by the thread that reads requests while no other one writes: handing it
            to another thread costs as much.
        soon: Does it without another thread, where that can be, and says whether it did. The answer is then ``{}``.
    """

    method: Literal["GET", "POST", "PATCH", "PUT", "DELETE"]
    path: str
    message: type[msgspec.Struct]
    answer: Callable[[Container, Any], Any]
    brief: bool = False
    soon: Callable[[Container, Any], Awaitable[bool]] | None = None


class Wire:
    """Finds and answers calls.

    Args:
        container: The ports.
        endpoints: All there are.
    """

    def __init__(self, container: Container, endpoints: Iterable[Endpoint]) -> None:
        self._container = container
        self._plain: dict[tuple[str, str], _Call] = {}
        self._shaped: list[tuple[str, list[str], _Call]] = []
        for endpoint in endpoints:
            call = _Call(
                endpoint.path, endpoint.answer, Reader(endpoint.message), endpoint.brief, endpoint.soon
            )
            if "{" in endpoint.path:
                self._shaped.append((endpoint.method, endpoint.path.split("/"), call))
            else:
                self._plain[endpoint.method, endpoint.path] = call

    def call(self, method: str, path: str, query: str, body: bytes) -> tuple[int, bytes]:
        """Answer one request.

        Args:
            method: The HTTP method.
            path: The path after ``/api/`` or ``/ajax-api/``, decoded.
            query: The query as it came.
            body: The body.

        Returns:
            The status and the JSON of the answer.
        """
        try:
            call, fields = self._find(method, path)
            return self._answer(call, method, query, body, fields)
        except HomeostatError as error:
            return answer_of(error)

    def at_once(self, method: str, path: str, body: bytes) -> tuple[int, bytes] | None:
        """As ``call``, for a brief one without a query; None where it is none, or would have to wait."""
        call = self._plain.get((method, path))
        if call is None or not call.brief:
            return None
        try:
            with self._container.store.at_once():
                return self._answer(call, method, "", body, {})
        except Busy:
            return None

    async def soon(self, method: str, path: str, body: bytes) -> tuple[int, bytes] | None:
        """As ``call``, for what needs no thread; None where it does, or cannot be done: ``call`` says why."""
        call = self._plain.get((method, path))
        if call is None or call.soon is None:
            return None
        try:
            return _DONE if await call.soon(self._container, call.reader.body(body, {})) else None
        except HomeostatError:
            return None

    def _answer(
        self, call: _Call, method: str, query: str, body: bytes, fields: dict[str, str]
    ) -> tuple[int, bytes]:
        read = call.reader
        try:
            message = read.query(query, fields) if method == "GET" and query else read.body(body, fields)
            answer = call.answer(self._container, message)
            return 200, answer if isinstance(answer, bytes) else encode({} if answer is None else answer)
        except Busy:
            raise
        except HomeostatError as error:
            return answer_of(error)
        except Exception:  # noqa: BLE001 - the client gets an answer, the log the cause
            _log.exception("%s %s failed", method, call.path)
            return answer_of(MlflowError("INTERNAL_ERROR", "the server failed; see its log"))

    def _find(self, method: str, path: str) -> tuple[_Call, dict[str, str]]:
        call = self._plain.get((method, path))
        if call is not None:
            return call, {}
        parts = path.split("/")
        for wanted, shape, call in self._shaped:
            if wanted == method and len(shape) == len(parts):
                pairs = list(zip(shape, parts, strict=True))
                if all(a == b or (a.startswith("{") and b) for a, b in pairs):
                    return call, {a[1:-1]: b for a, b in pairs if a.startswith("{")}
        raise MlflowError("ENDPOINT_NOT_FOUND", f"there is no {method} /api/{path}")


class _Call(msgspec.Struct, frozen=True):
    path: str
    answer: Callable[[Container, Any], Any]
    reader: Reader[Any]
    brief: bool
    soon: Callable[[Container, Any], Awaitable[bool]] | None
