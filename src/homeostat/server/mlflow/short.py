"""The short way of what is logged one by one: a point of a metric, a parameter, a tag of a run."""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Final

from homeostat.server.http import ENCODING, JSON, Reply, too_large
from homeostat.server.mlflow.errors import MlflowError, answer_of
from homeostat.server.mlflow.wire import PREFIXES
from homeostat.server.short import Asked, ShortWay

if TYPE_CHECKING:
    from homeostat.server.api import Api

_log = logging.getLogger(__name__)

_LIMIT: Final = 64 << 10  # bytes: of more the thread that reads requests does not take the time
_CALLS: Final = {
    (prefix + call).encode(): call.removeprefix("api/")
    for prefix in PREFIXES
    for call in ("2.0/mlflow/runs/log-metric", "2.0/mlflow/runs/log-parameter", "2.0/mlflow/runs/set-tag")
}


class Logging(ShortWay):
    """uvicorn's protocol with the short way of single points, parameters and tags. A subclass says whom it asks.

    Attributes:
        api: Whose requests these are.
    """

    api: ClassVar[Api]

    def takes(self, path: bytes) -> bool:
        """Whether it logs one thing, says so in JSON, and comes from where it may."""
        if path not in _CALLS:
            return False
        length = kind = b""
        for name, value in self.headers:
            if name == b"content-length":
                length = value
            elif name == b"content-type":
                kind = value
            elif name == ENCODING:
                return False
        return (
            kind == JSON  # written in another way, which may be right too, it takes the long way
            and length.isdigit()
            and int(length) <= _LIMIT
            and self.api.refusal(self.headers) is None
        )

    def on_headers_complete(self) -> None:
        """Give the application any time to read a body, which may be a large file; it looks that its parts come."""
        super().on_headers_complete()
        cycle: Any = self.cycle
        if type(cycle) is not Asked:
            self.since = inf

    def limit(self) -> int:
        """How many bytes a body may have."""
        return _LIMIT

    def refuse(self, asked: Asked) -> None:
        """Answer a request whose body is too long."""
        error = too_large(_LIMIT)
        asked.reply(Reply(error.status, error.body(), headers=error.headers))

    def answer(self, asked: Asked) -> None:
        """Log it."""
        asked.task = self.loop.create_task(self._logged(asked))

    async def _logged(self, asked: Asked) -> None:
        try:
            status, content = await self.api.mlflow.answer(
                "POST", _CALLS[asked.path], asked.query.decode("latin-1"), bytes(asked.body)
            )
        except Exception:  # noqa: BLE001 - the client gets an answer, the log the cause
            _log.exception("%s failed", asked.path.decode())
            status, content = answer_of(MlflowError("INTERNAL_ERROR", "the server failed; see its log"))
        asked.reply(Reply(status, content))
