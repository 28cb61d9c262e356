"""What a client sends and how: one connection pool, answers or the server's errors, and patience with restarts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec

from homeostat.domain.errors import (
    BadReference,
    BadRequest,
    Conflict,
    ContractBroken,
    DeclarationError,
    HomeostatError,
    NotFound,
    StoreUnavailable,
    Unsafe,
)

if TYPE_CHECKING:
    import httpx

ARROW: Final = "application/vnd.apache.arrow.stream"
MSGPACK: Final = "application/vnd.msgpack"
_PAUSE: Final = 0.2
_ERRORS: Final[dict[str, type[HomeostatError]]] = {
    kind.code: kind
    for kind in (
        BadReference,
        BadRequest,
        Conflict,
        ContractBroken,
        DeclarationError,
        HomeostatError,
        NotFound,
        StoreUnavailable,
        Unsafe,
    )
}
_STATUSES: Final[dict[int, type[HomeostatError]]] = {
    400: BadRequest,
    404: NotFound,
    409: Conflict,
    422: BadRequest,
    503: StoreUnavailable,
}


class Transport:
    """Requests to one server. Safe for threads.

    Args:
        server: Its URL.
        timeout: Seconds to wait for an answer.
        patience: Seconds over which a repeatable request is repeated when the connection breaks.
    """

    def __init__(self, server: str, *, timeout: float, patience: float) -> None:
        from homeostat.adapters.clock import SystemClock

        self._server = server
        self._timeout = timeout
        self._patience = patience
        self._clock = SystemClock()
        self._clients: dict[bool, httpx.Client] = {}

    def close(self) -> None:
        """Give back the connections."""
        for client in self._clients.values():
            client.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        repeatable: bool = False,
        into: BinaryIO | None = None,
        late: str = "Look at its log, or wait",
        **parts: Any,
    ) -> bytes:
        """The body of the answer; ``path`` may be a whole URL.

        Args:
            method: The HTTP method.
            path: Where to.
            repeatable: Whether doing it twice does no more than doing it once.
            into: A file to write the body to, a piece at a time, in place of returning it; seekable, if repeatable.
            late: What to do where no answer comes in time.
            parts: More for ``httpx.Client.request``; its ``content`` may be a seekable file.

        Raises:
            HomeostatError: the error that the server answered with.
            StoreUnavailable: no answer came.
        """
        httpx = _httpx()
        url = path if path.startswith("http") else self._server + path
        until = self._clock.monotonic() + self._patience
        while True:
            try:
                response = self._asked(method, url, into, parts, repeatable)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                raise StoreUnavailable(
                    f"no Homeostat answers at {_base(url)}",
                    remedy="Start it with homeostat up, or say where it is with --server or HOMEOSTAT_SERVER",
                ) from error
            except httpx.TimeoutException as error:
                raise StoreUnavailable(
                    f"{_base(url)} did not answer {method} {path} in time", remedy=late
                ) from error
            except httpx.HTTPError as error:
                if not repeatable or self._clock.monotonic() > until:
                    raise StoreUnavailable(
                        f"the connection to {_base(url)} broke during {method} {path}: {error}",
                        remedy="It restarts by itself; see with homeostat status whether this was done, and ask again",
                    ) from error
                self._clock.sleep(_PAUSE)
                continue
            if response.is_success:
                return response.content if into is None else b""
            raise _error(response)

    def _asked(
        self, method: str, url: str, into: BinaryIO | None, parts: dict[str, Any], repeatable: bool
    ) -> httpx.Response:
        content = parts.get("content")
        if content is not None and hasattr(content, "seek"):
            content.seek(0)
        client = self._client(url)
        if into is None:
            return client.request(method, url, **parts)
        with client.stream(method, url, **parts) as response:
            if not response.is_success:
                response.read()
                return response
            if repeatable:  # it may hold what came the time before
                into.seek(0)
                into.truncate()
            for piece in response.iter_bytes():
                into.write(piece)
        return response

    def _client(self, url: str) -> httpx.Client:
        # Reading the authorities' certificates takes longer than a call, and only https needs them.
        secure = url.startswith("https:")
        if secure not in self._clients:
            httpx = _httpx()
            timeout = httpx.Timeout(self._timeout, connect=5.0)
            made = httpx.Client(timeout=timeout, trust_env=False, verify=secure)
            if self._clients.setdefault(secure, made) is not made:
                made.close()
        return self._clients[secure]


def _httpx() -> Any:
    """The library, without its command line, which would import what draws on terminals where that is installed."""
    own = "httpx._main"
    if "httpx" not in sys.modules:
        sys.modules[own] = None  # type: ignore[assignment]  # to Python: there is no such module
    try:
        import httpx
    finally:
        if sys.modules.get(own, own) is None:
            sys.modules.pop(own, None)
    return httpx


def _base(url: str) -> str:
    return "/".join(url.split("/", 3)[:3])


def _error(response: httpx.Response) -> HomeostatError:
    """The error that an answer tells of."""
    try:
        body = msgspec.json.decode(response.content)
        # What is asked over MLflow's protocol is refused in its form.
        told = {"code": "", **body} if "error_code" in body else body["error"]
        code, message, remedy = told["code"], told["message"], told.get("remedy", "")
    except (msgspec.DecodeError, KeyError, TypeError):
        text = response.text[:200].strip()
        return HomeostatError(
            f"{response.url} answered {response.status_code}: {text}", remedy="Is this a Homeostat server?"
        )
    kind = _ERRORS.get(code) or _STATUSES.get(response.status_code, HomeostatError)
    if kind is BadRequest:
        return BadRequest(message, field=told.get("field", ""), remedy=remedy)
    return kind(message, remedy=remedy)


def arrow_of(rows: Any) -> bytes:
    """Rows as an Arrow IPC stream."""
    import io

    import polars as pl

    if isinstance(rows, pl.LazyFrame):
        rows = rows.collect()
    elif not isinstance(rows, pl.DataFrame):
        try:
            made = pl.DataFrame(rows, infer_schema_length=None)
        except (pl.exceptions.PolarsError, TypeError) as error:
            raise BadRequest(
                f"these rows make no table: {error}", remedy="Give a frame or a list of mappings"
            ) from error
        rows = made
    buffer = io.BytesIO()
    rows.write_ipc_stream(buffer)
    return buffer.getvalue()


def objects_of(rows: Any) -> list[Any]:
    """Rows as mappings, whatever they came as."""
    if hasattr(rows, "to_dicts"):
        return list(rows.to_dicts())
    if hasattr(rows, "to_dict"):
        return list(rows.to_dict("records"))
    return list(rows)
