"""Parts of a metric's history: one page after the other, or a sample of it that is small enough to draw."""

from __future__ import annotations

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

import numpy as np
import numpy.typing as npt

from homeostat.domain.errors import BadRequest
from homeostat.engine.tracking.points import History

_LAST: Final = struct.Struct("<qqd")


def page(whole: History, limit: int, token: str = "") -> tuple[History, str]:
    """The points after those that were given before.

    Args:
        whole: The history.
        limit: How many at most.
        token: What came with the page before; empty for the first one. It names that page's last point, so points
            that are logged meanwhile shift nothing.

    Returns:
        The points, and the token of the next page; empty when there is none.

    Raises:
        BadRequest: the token is none of these.
    """
    start = _after(whole, token) if token else 0
    end = start + limit
    part = History(whole.timestamp[start:end], whole.step[start:end], whole.value[start:end])
    if end >= len(whole):
        return part, ""
    last = _LAST.pack(int(part.timestamp[-1]), int(part.step[-1]), float(part.value[-1]))
    return part, urlsafe_b64encode(last).decode()


def sample(whole: History, limit: int, steps: tuple[int, int] | None = None) -> History:
    """Points spread evenly over a history, in order of (step, timestamp, value), with the first and the last.

    Args:
        whole: The history.
        limit: How many at most, 1 or more; of one it is the last.
        steps: The first and the last step to look at; None: all.
    """
    timestamp, step, value = whole.timestamp, whole.step, whole.value
    if steps is not None:
        within = (step >= steps[0]) & (step <= steps[1])
        timestamp, step, value = timestamp[within], step[within], value[within]
    order = np.lexsort((value, timestamp, step))
    order = order[_spread(len(order), limit)]
    return History(timestamp[order], step[order], value[order])


def _spread(count: int, limit: int) -> npt.NDArray[np.int64]:
    """Numbers below ``count``: the first of each of ``limit`` parts of equal size, and the last one."""
    if count <= limit:
        return np.arange(count)
    size, rest = divmod(count, limit)
    number = np.arange(limit)
    starts = number * size + np.minimum(number, rest)
    starts[-1] = count - 1
    return starts


def _after(whole: History, token: str) -> int:
    try:
        timestamp, step, value = _LAST.unpack(urlsafe_b64decode(token.encode("ascii")))
    except (ValueError, struct.error) as error:
        raise BadRequest(
            f"Invalid page token, could not decode: {token[:100]!r}",
            field="page_token",
            remedy="Send the token as it came, or none for the first page",
        ) from error
    upto = whole.value <= value if value == value else np.ones(len(whole), bool)
    seen = (whole.timestamp < timestamp) | (
        (whole.timestamp == timestamp) & ((whole.step < step) | ((whole.step == step) & upto))
    )
    return int(np.count_nonzero(seen))
