"""How a call is an endpoint: its body is read, and it is answered in a thread, so that none holds up the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from homeostat.domain.errors import HomeostatError
from homeostat.server.calls import Call, answer, refused
from homeostat.server.http import Disconnected, HttpError, patient, read_body
from homeostat.server.room import Room
from homeostat.server.transfers import receive_file, send_file

if TYPE_CHECKING:
    from homeostat.app.container import Container

JSON: Final = "application/json"

# Bytes of a body: it is held in memory, so what needs no more gets no more.
_PLAIN: Final = 1 << 20
# The small ones have room of their own: rows that come in hold up no rollback.
_PLAIN_ROOM: Final = 64 << 20


class Endpoints:
    """Makes routes of calls.

    Args:
        container: The ports.
        pool: Where calls run.
        room: Memory for bodies that may be large.
    """

    def __init__(self, container: Container, pool: Executor, room: Room) -> None:
        self._container = container
        self.pool = pool
        self._room, self._plain_room = room, Room(_PLAIN_ROOM)

    def get(self, path: str, work: Callable[[Call], Any], media: str = JSON) -> Route:
        """A call that reads."""
        return Route(path, self._endpoint(work, media), methods=["GET"])

    def post(self, path: str, work: Callable[[Call], Any], limit: int | None = _PLAIN) -> Route:
        """A call whose body has at most so many bytes, in memory; or, with None, any number, in a file."""
        return Route(path, self._endpoint(work, limit=limit), methods=["POST"])

    def _endpoint(
        self, work: Callable[[Call], Any], media: str = JSON, limit: int | None = _PLAIN
    ) -> Callable[[Request], Any]:
        room = self._plain_room if limit == _PLAIN else self._room

        async def respond_to(request: Request) -> Response:
            with room.share() as take:
                return await respond_with(request, take)

        async def respond_with(request: Request, take: Callable[[int], None]) -> Response:
            body, file, home = b"", None, self._container.settings.home
            headers: Mapping[str, str] = {}
            try:
                receive = patient(request.receive)
                if limit is None:
                    file = await receive_file(request.scope, receive, home, self.pool)
                else:
                    body = await read_body(request.scope, receive, limit, take)
                kind = request.headers.get("content-type", "").partition(";")[0]
                call = Call(request.path_params, request.query_params, body, kind, request.headers, file)
                loop = asyncio.get_running_loop()
                status, content = await loop.run_in_executor(self.pool, answer, work, call)
            except Disconnected:
                status, content = 400, b""
            except HomeostatError as error:
                status, content = refused(error)
                if isinstance(error, HttpError):
                    headers = {name.decode(): value.decode() for name, value in error.headers}
            finally:
                if file is not None:
                    file.close()
            if not isinstance(content, bytes):
                return send_file(content, media, self.pool)
            return Response(content, status, headers, media if status == 200 else JSON)

        return respond_to
