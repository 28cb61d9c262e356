"""The short way of a request for predictions: a ``POST /predict/DEPLOYMENT`` is answered by callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from homeostat.engine.serving.tracing import PARENT, STATE
from homeostat.server.http import ENCODING, HttpError, Reply, too_large, unpacked
from homeostat.server.protocols.native import PREFIX
from homeostat.server.short import Asked, ShortWay

if TYPE_CHECKING:
    from homeostat.server.dataplane import DataPlane

_PREFIX: Final = PREFIX.encode()
_LENGTH: Final = b"content-length"
_ORIGIN: Final = b"origin"


class Direct(ShortWay):
    """uvicorn's protocol with the short way of predictions. A subclass says whom it asks.

    Attributes:
        dataplane: Whose requests these are.
    """

    dataplane: DataPlane

    def takes(self, path: bytes) -> bool:
        """Whether it asks for predictions."""
        return path.startswith(_PREFIX)

    def limit(self) -> int:
        """How many bytes a body may have."""
        return self.dataplane.body_limit

    def begun(self, asked: Asked) -> None:
        """Keep what it is part of, and refuse what says that it is too long."""
        for name, value in self.headers:
            if name == _LENGTH:
                if value.isdigit() and int(value) > self.dataplane.body_limit:
                    self.refuse(asked)
            elif name == ENCODING:
                asked.encoding = value
            elif name == PARENT:
                asked.trace = value
            elif name == STATE:
                asked.state = value
            elif name == _ORIGIN and (refused := self.dataplane.refusal(self.headers)) is not None:
                self._refused(asked, refused)

    def answer(self, asked: Asked) -> None:
        """Ask for the predictions."""
        name, body = asked.path[len(_PREFIX) :].decode("latin-1"), bytes(asked.body)
        if asked.encoding:
            try:
                body = unpacked(body, asked.encoding, self.dataplane.body_limit)
            except HttpError as error:
                self._refused(asked, error)
                return
        trace = self.dataplane.plane.tracer.begin(asked.trace, asked.state)
        self.dataplane.direct(name, asked.query, body, asked.reply, trace)

    def refuse(self, asked: Asked) -> None:
        """Answer a request whose body is too long."""
        self._refused(asked, too_large(self.dataplane.body_limit))

    def _refused(self, asked: Asked, error: HttpError) -> None:
        self.dataplane.measures.count("native", error.status, 0.0)
        asked.reply(Reply(error.status, error.body(), headers=error.headers))
