"""A server that takes what the spool holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from homeostat.engine.tracking.places import path_of
from homeostat.sdk.tracking.sending import Taken
from homeostat.sdk.transport import Transport

_FRAMES: Final = "application/vnd.homeostat.frames"
_ARTIFACTS: Final = "/api/2.0/mlflow-artifacts/artifacts"


class Remote:
    """Takes streams over HTTP.

    Args:
        server: The server's URL, or what tells it, before each request.
        timeout: Seconds to wait for an answer.
    """

    def __init__(self, server: str | Callable[[], str], *, timeout: float = 60.0) -> None:
        self._server = server
        self._timeout = timeout
        self._url = ""
        self._opened: Transport | None = None
        self._roots: dict[str, str] = {}

    @property
    def _transport(self) -> Transport:
        url = self._server if isinstance(self._server, str) else self._server()
        if self._opened is None or url != self._url:
            self.close()
            # Without patience: who sends tries again by itself, and from where the server stands.
            self._url, self._opened = url, Transport(url, timeout=self._timeout, patience=0.0)
        return self._opened

    def position(self, run: str, stream: str) -> int:
        """The number of the last frame of a stream that was taken; 0 before the first."""
        answer = self._transport.send("GET", f"/runs/{run}/log", params={"stream": stream})
        return msgspec.json.decode(answer, type=Taken).seq

    def take(self, run: str, stream: str, after: int, frames: bytes) -> Taken:
        """Take the frames that follow ``after``; see ``Taker``."""
        answer = self._transport.send(
            "POST",
            f"/runs/{run}/log",
            params={"stream": stream, "after": after},
            content=frames,
            headers={"content-type": _FRAMES},
        )
        return msgspec.json.decode(answer, type=Taken)

    def put(self, run: str, path: str, content: bytes | Path) -> None:
        """Store a file among the run's artifacts; one on disk is streamed."""
        url = f"{_ARTIFACTS}/{self._root(run)}/{quote(path)}"
        headers = {"content-type": "application/octet-stream"}
        if isinstance(content, bytes):
            self._transport.send("PUT", url, content=content, headers=headers)
            return
        with content.open("rb") as file:
            self._transport.send("PUT", url, content=file, headers=headers)

    def last_step(self, run: str) -> int:
        """The greatest step of a run's own metrics; -1 when it has none.

        Raises:
            NotFound: there is no such run.
        """
        metrics = self._run(run).data.metrics
        return max((one.step for one in metrics if not one.key.startswith("system/")), default=-1)

    def close(self) -> None:
        """Give back the connections."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _root(self, run: str) -> str:
        if run not in self._roots:
            self._roots[run] = path_of(self._run(run).info.artifact_uri)
        return self._roots[run]

    def _run(self, run: str) -> _Found:
        answer = self._transport.send("GET", "/api/2.0/mlflow/runs/get", params={"run_id": run})
        return msgspec.json.decode(answer, type=_Answer).run


class _Metric(msgspec.Struct):
    key: str
    step: int = 0


class _Data(msgspec.Struct):
    metrics: list[_Metric] = []


class _Info(msgspec.Struct):
    artifact_uri: str


class _Found(msgspec.Struct):
    info: _Info
    data: _Data


class _Answer(msgspec.Struct):
    run: _Found
