"""Where a run that goes on left off, as far as it can be known here and now."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from homeostat.app.settings import Settings
from homeostat.domain.errors import Conflict, HomeostatError, NotFound, StoreUnavailable
from homeostat.engine.tracking.entries import Points, decode, holds
from homeostat.engine.tracking.frames import scan
from homeostat.sdk.tracking.remote import Remote
from homeostat.sdk.tracking.spool import Stream

_TIMEOUT: Final = 5.0
_SEGMENTS: Final = 2  # the last ones of each stream are read
_rows: Final = struct.Struct("<Hdqq").iter_unpack


def next_step(settings: Settings, run: str) -> int:
    """The step after the last that is known of a run: by the spool, and by the server or, without one, the store."""
    from homeostat.app.running import server_of

    here = max(
        (_last(Stream(folder)) for folder in (settings.home / "spool" / run).glob("[!.]*")), default=-1
    )
    remote = Remote(server_of(settings), timeout=_TIMEOUT)
    try:
        there = remote.last_step(run)
    except StoreUnavailable:
        there = _stored(settings, run)
    except HomeostatError:  # a run that it does not have yet
        there = -1
    finally:
        remote.close()
    return max(here, there) + 1


def _stored(settings: Settings, run: str) -> int:
    """The last step that the store of the home has; one that is not there yet is not made."""
    file = settings.store.removeprefix("sqlite:///")
    if file != settings.store and not Path(file).exists():
        return -1
    from homeostat.app.container import Container
    from homeostat.app.tracking.summaries import summary

    try:
        with Container(settings) as container:
            found = summary(container, run)
    except (Conflict, NotFound, StoreUnavailable):  # Conflict: the beginning of several ids
        return -1
    steps = found.steps if found.id == run else {}
    return max((step for key, step in steps.items() if not key.startswith("system/")), default=-1)


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
