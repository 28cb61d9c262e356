"""Points of metrics and the blocks in which they are kept.

A block's payload is one row of 26 bytes a point, little-endian: number of the key in the block's ``keys`` (uint16),
value (float64, NaN and the infinities as they are), timestamp and step (int64). So a point is added by adding bytes,
and a key's points are found without parsing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.domain.tracking import MetricBlock

_ROW: Final = np.dtype([("key", "<u2"), ("value", "<f8"), ("timestamp", "<i8"), ("step", "<i8")])
_PACK: Final = struct.Struct("<Hdqq").pack
_FEW: Final = 64  # up to so many points, packing one by one is faster than columns


class Point(msgspec.Struct, frozen=True, gc=False):
    """One value of a metric.

    Args:
        key: The metric's name.
        value: A float; NaN and the infinities too.
        timestamp: Milliseconds since 1970.
        step: Where on the run's axis it was measured.
        model: The logged model that it is about; empty: none.
        dataset: The name of the dataset that it was measured on; empty: none is named.
        digest: That dataset's digest.
    """

    key: str
    value: float
    timestamp: int
    step: int = 0
    model: str = ""
    dataset: str = ""
    digest: str = ""


@dataclass(frozen=True)
class History:
    """The points of a metric in order of (timestamp, step, value), NaN last, no two the same; columns of shape (n,)."""

    timestamp: npt.NDArray[np.int64]
    step: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.value)


def block(run: str, seq: int, points: Sequence[Point]) -> MetricBlock:
    """Points as a block of level 0."""
    number: dict[str, int] = {}
    keys = [number.setdefault(point.key, len(number)) for point in points]
    return MetricBlock(
        run=run,
        seq=seq,
        count=len(points),
        first=min(number),
        last=max(number),
        keys=list(number),
        payload=_payload(keys, points),
    )


def history(blocks: Iterable[MetricBlock], key: str) -> History:
    """The points of ``key`` in ``blocks``."""
    parts: list[npt.NDArray[Any]] = []
    for held in blocks:
        if key in held.keys:
            rows = np.frombuffer(held.payload, _ROW)
            parts.append(rows[rows["key"] == held.keys.index(key)] if len(held.keys) > 1 else rows)
    rows = np.concatenate(parts) if parts else np.empty(0, _ROW)
    timestamp, step, value = (np.ascontiguousarray(rows[name]) for name in ("timestamp", "step", "value"))
    order = np.lexsort((value, step, timestamp))
    timestamp, step, value = timestamp[order], step[order], value[order]
    if len(order) > 1:
        same = (np.diff(timestamp) == 0) & (np.diff(step) == 0)
        same &= (value[1:] == value[:-1]) | (np.isnan(value[1:]) & np.isnan(value[:-1]))
        new = np.concatenate(([True], ~same))
        timestamp, step, value = timestamp[new], step[new], value[new]
    return History(timestamp, step, value)


def _payload(keys: Sequence[int], points: Sequence[Point]) -> bytes:
    if len(points) <= _FEW:
        return b"".join(
            _PACK(key, point.value, point.timestamp, point.step)
            for key, point in zip(keys, points, strict=True)
        )
    rows = np.empty(len(points), _ROW)
    rows["key"] = keys
    rows["value"] = [point.value for point in points]
    rows["timestamp"] = [point.timestamp for point in points]
    rows["step"] = [point.step for point in points]
    return rows.tobytes()


def latest(points: Iterable[Point]) -> dict[str, Point]:
    """The latest point of each key: that with the greatest (step, timestamp, value), NaN being the least value."""
    found: dict[str, Point] = {}
    for point in points:
        other = found.get(point.key)
        if other is None or _rank(point) > _rank(other):
            found[point.key] = point
    return found


def _rank(point: Point) -> tuple[int, int, bool, float]:
    number = point.value == point.value
    return point.step, point.timestamp, number, point.value if number else 0.0
