"""A store that takes what the spool holds, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from homeostat.engine.tracking.places import path_of, run_root
from homeostat.sdk.tracking.sending import Refusal, Taken

if TYPE_CHECKING:
    from homeostat.app.container import Container

_PART: Final = 1 << 20


class Local:
    """Takes streams into the store of ``container``."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def position(self, run: str, stream: str) -> int:
        """The number of the last frame of a stream that was taken; 0 before the first."""
        from homeostat.app.tracking import streams

        return streams.position(self._container, run, stream)

    def take(self, run: str, stream: str, after: int, frames: bytes) -> Taken:
        """Take the frames that follow ``after``; see ``Taker``."""
        from homeostat.app.tracking import streams

        taken = streams.take(self._container, run, stream, after, frames)
        return Taken(taken.seq, [Refusal(one.seq, one.reason) for one in taken.refused])

    def put(self, run: str, path: str, content: bytes | Path) -> None:
        """Store a file among the run's artifacts."""
        from homeostat.app.artifacts import Upload
        from homeostat.app.tracking import experiment
        from homeostat.app.tracking import run as run_of

        root = run_root(experiment(self._container, run_of(self._container, run).experiment).artifacts, run)
        upload = Upload(self._container, f"{path_of(root)}/{path}")
        if isinstance(content, bytes):
            upload.take(content)
        else:
            with content.open("rb") as file:
                while part := file.read(_PART):
                    if upload.take(part):
                        upload.put()
        upload.finish()

    def close(self) -> None:
        """The container is its owner's."""
