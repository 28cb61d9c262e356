"""A server that takes what the spool holds."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from homeostat.engine.tracking.places import path_of
from homeostat.sdk.tracking.sending import Taken
from homeostat.sdk.transport import Transport

_FRAMES: Final = "application/vnd.homeostat.frames"
_ARTIFACTS: Final = "/api/2.0/mlflow-artifacts/artifacts"
_TIMEOUT: Final = 60.0


class Remote:
    """Takes streams over HTTP.

    Args:
        server: The server's URL.
    """

    def __init__(self, server: str) -> None:
        self.server = server
        # Without patience: who sends tries again by itself, and from where the server stands.
        self._transport = Transport(server, timeout=_TIMEOUT, patience=0.0)
        self._roots: dict[str, str] = {}

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

    def close(self) -> None:
        """Give back the connections."""
        self._transport.close()

    def _root(self, run: str) -> str:
        if run not in self._roots:
            answer = self._transport.send("GET", "/api/2.0/mlflow/runs/get", params={"run_id": run})
            found = msgspec.json.decode(answer, type=_Answer)
            self._roots[run] = path_of(found.run.info.artifact_uri)
        return self._roots[run]


class _Info(msgspec.Struct):
    artifact_uri: str


class _Found(msgspec.Struct):
    info: _Info


class _Answer(msgspec.Struct):
    run: _Found
