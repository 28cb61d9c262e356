"""From a request to a use case and back: every endpoint is a method, a path, a message and a function.

A GET carries its message in the query, all else as JSON. Unknown fields are left aside, as protobuf does. What has no
endpoint is answered with ENDPOINT_NOT_FOUND, upon which newer clients fall back on older calls.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar
from urllib.parse import parse_qs

import msgspec

from homeostat.domain.errors import BadRequest, HomeostatError
from homeostat.server.http import encode
from homeostat.server.mlflow.errors import MlflowError, answer_of

if TYPE_CHECKING:
    from homeostat.app.container import Container

M = TypeVar("M", bound=msgspec.Struct)
PREFIXES: Final = ("/api/", "/ajax-api/")

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
        answer: Answers it; what it gives is sent as JSON, None as ``{}``.
    """

    method: Literal["GET", "POST", "PATCH", "PUT", "DELETE"]
    path: str
    message: type[msgspec.Struct]
    answer: Callable[[Container, Any], Any]


class Wire:
    """Finds and answers calls.

    Args:
        container: The ports.
        endpoints: All there are.
    """

    def __init__(self, container: Container, endpoints: Iterable[Endpoint]) -> None:
        self._container = container
        self._plain: dict[tuple[str, str], Endpoint] = {}
        self._shaped: list[tuple[str, list[str], Endpoint]] = []
        for endpoint in endpoints:
            if "{" in endpoint.path:
                self._shaped.append((endpoint.method, endpoint.path.split("/"), endpoint))
            else:
                self._plain[endpoint.method, endpoint.path] = endpoint

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
            endpoint, fields = self._find(method, path)
            message = _read(endpoint.message, method, fields, query, body)
            answer = endpoint.answer(self._container, message)
            return 200, encode({} if answer is None else answer)
        except HomeostatError as error:
            return answer_of(error)
        except Exception:  # noqa: BLE001 - the client gets an answer, the log the cause
            _log.exception("%s %s failed", method, path)
            return answer_of(MlflowError("INTERNAL_ERROR", "the server failed; see its log"))

    def _find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
        endpoint = self._plain.get((method, path))
        if endpoint is not None:
            return endpoint, {}
        parts = path.split("/")
        for wanted, shape, endpoint in self._shaped:
            if wanted == method and len(shape) == len(parts):
                pairs = list(zip(shape, parts, strict=True))
                if all(a == b or (a.startswith("{") and b) for a, b in pairs):
                    return endpoint, {a[1:-1]: b for a, b in pairs if a.startswith("{")}
        raise MlflowError("ENDPOINT_NOT_FOUND", f"there is no {method} /api/{path}")


def _read(kind: type[M], method: str, fields: dict[str, str], query: str, body: bytes) -> M:
    """The message of a request.

    Raises:
        BadRequest: it does not fit; names the field.
    """
    try:
        if method != "GET":
            if not fields:
                return msgspec.json.decode(body or b"{}", type=kind)
            return msgspec.convert(msgspec.json.decode(body or b"{}", type=dict[str, Any]) | fields, kind)
        repeated = {field.encode_name for field in msgspec.structs.fields(kind) if _is_list(field.type)}
        found = parse_qs(query, keep_blank_values=True)
        given = {name: values if name in repeated else values[-1] for name, values in found.items()}
        return msgspec.convert(given | fields, kind, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what, _, path = str(error).partition(" - at `")
        name = path.strip("$.`")
        raise BadRequest(f"Invalid value for parameter '{name}' supplied: {what}", field=name) from error


def _is_list(kind: Any) -> bool:
    return getattr(kind, "__origin__", kind) in (list, tuple)
