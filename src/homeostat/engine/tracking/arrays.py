"""Points of metrics in rows, as they are kept.

A row has 26 bytes, little-endian: number of the key (uint16), value (float64, NaN and the infinities as they are),
timestamp and step (int64). What a number stands for is in the list of keys beside the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from homeostat.domain.errors import BadRequest
from homeostat.engine.tracking import limits
from homeostat.engine.tracking.points import Point

ROW: Final = np.dtype([("key", "<u2"), ("value", "<f8"), ("timestamp", "<i8"), ("step", "<i8")])
WIDER: Final = np.dtype([("key", "<u4"), ("value", "<f8"), ("timestamp", "<i8"), ("step", "<i8")])
KEYS: Final = 1 << 16  # so many can be numbered


class Rows(NamedTuple):
    """The keys of points, and the points, of dtype ``ROW`` and shape (n,), which name them by number."""

    keys: list[str]
    points: npt.NDArray[Any]


def rows_of(points: Sequence[Point]) -> Rows:
    """Points as rows.

    Raises:
        BadRequest: a key is no name, a number does not fit into 64 bits or a time is before 1970; or there are too many
            keys.
    """
    number: dict[str, int] = {}
    given = [
        (number.setdefault(point.key, len(number)), point.value, point.timestamp, point.step)
        for point in points
    ]
    if len(number) > KEYS:
        raise BadRequest(f"{len(number)} metrics come at once, and {KEYS} are the most", field="metrics")
    try:
        for key in number:
            limits.check_name(key, "name")
        rows = np.array(given, ROW)
        if len(rows) and rows["timestamp"].min() < 0:
            raise BadRequest("a time is before 1970", field="timestamp")
    except (BadRequest, OverflowError):
        for place, point in enumerate(points):  # which one it was
            path = f"metrics[{place}]" if len(points) > 1 else ""
            limits.check_point(point.key, point.value, point.timestamp, point.step, path)
        raise
    return Rows(list(number), rows)


def latest(rows: Rows) -> list[Point]:
    """The latest point of each key: that with the greatest (step, timestamp, value), NaN being the least value."""
    points = rows.points
    if len(points) > 1:
        value = points["value"]
        number = ~np.isnan(value)
        order = np.lexsort(
            (np.where(number, value, 0.0), number, points["timestamp"], points["step"], points["key"])
        )
        keys = points["key"][order]
        points = points[order[np.append(np.flatnonzero(keys[1:] != keys[:-1]), len(order) - 1)]]
    return [Point(rows.keys[key], *rest) for key, *rest in points.tolist()]


def joined(parts: Iterable[Rows]) -> Rows:
    """All rows as one, in order, their keys sorted and numbered by 32 bits, since there may be many."""
    given = list(parts)
    keys = sorted({key for part in given for key in part.keys})
    number = {key: place for place, key in enumerate(keys)}
    out = np.empty(sum(len(part.points) for part in given), WIDER)
    at = 0
    for part in given:
        here = out[at : at + len(part.points)]
        here["key"] = np.array([number[key] for key in part.keys], dtype="<u4")[part.points["key"]]
        for name in ("value", "timestamp", "step"):
            here[name] = part.points[name]
        at += len(here)
    return Rows(keys, out)


def used(rows: Rows) -> Rows:
    """Rows as they are kept, with only those keys that they number.

    Raises:
        BadRequest: there are too many.
    """
    numbers, moved = np.unique(rows.points["key"], return_inverse=True)
    if len(numbers) > KEYS:
        raise BadRequest(f"{len(numbers)} metrics come at once, and {KEYS} are the most", field="metrics")
    out = np.empty(len(rows.points), ROW)
    out["key"] = moved
    for name in ("value", "timestamp", "step"):
        out[name] = rows.points[name]
    return Rows([rows.keys[number] for number in numbers], out)


def ordered(points: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rows in order of (key, timestamp, step, value), NaN last, no two the same."""
    found = points[np.lexsort((points["value"], points["step"], points["timestamp"], points["key"]))]
    if len(found) < 2:
        return found
    one, two = found[:-1], found[1:]
    same = (one["value"] == two["value"]) | (np.isnan(one["value"]) & np.isnan(two["value"]))
    for name in ("step", "timestamp", "key"):
        same &= one[name] == two[name]
    return found[np.append(True, ~same)] if same.any() else found
