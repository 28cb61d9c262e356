"""Where a run that goes on left off, as far as it can be known here and now."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from homeostat.domain.errors import HomeostatError
from homeostat.engine.tracking.entries import Points, decode, holds
from homeostat.engine.tracking.frames import scan
from homeostat.sdk.tracking.remote import Remote
from homeostat.sdk.tracking.spool import Stream

_TIMEOUT: Final = 5.0
_SEGMENTS: Final = 2  # the last ones of each stream are read
_rows: Final = struct.Struct("<Hdqq").iter_unpack


def next_step(spool: Path, server: str, run: str) -> int:
    """The step after the last that the spool or the server has; 0 where neither knows the run."""
    here = max((_last(Stream(folder)) for folder in (spool / run).glob("[!.]*")), default=-1)
    remote = Remote(server, timeout=_TIMEOUT)
    try:
        there = remote.last_step(run)
    except HomeostatError:  # no server, or a run that it does not have yet
        there = -1
    finally:
        remote.close()
    return max(here, there) + 1


def _last(stream: Stream) -> int:
    last = -1
    for segment in stream.segments()[-_SEGMENTS:]:
        for frame in scan(stream.name, segment.read_bytes()).frames:
            if holds(frame.payload, Points):
                points = decode(frame.payload)
                assert isinstance(points, Points)
                own = {n for n, key in enumerate(points.keys) if not key.startswith("system/")}
                last = max(last, *(step for key, _, _, step in _rows(points.rows) if key in own), -1)
    return last
