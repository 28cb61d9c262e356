"""Points that came as rows: checked, put together and kept without becoming objects one by one.

A row is that of ``homeostat.engine.tracking.points``: number of the key (uint16), value (float64), timestamp and step
(int64), little-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from homeostat.domain.errors import BadRequest
from homeostat.domain.tracking import Metric, MetricBlock
from homeostat.engine.tracking import limits

ROW: Final = np.dtype([("key", "<u2"), ("value", "<f8"), ("timestamp", "<i8"), ("step", "<i8")])
_MOST_KEYS: Final = 65_536


class Rows(NamedTuple):
    """Points of shape (n,), with dtype ``ROW``, and the keys that they number."""

    keys: list[str]
    points: npt.NDArray[Any]


def read(keys: list[str], data: bytes) -> Rows:
    """Rows as they were sent.

    Raises:
        BadRequest: bytes that are no rows, a number without a key, a key that cannot be, or a time before 1970.
    """
    if len(data) % ROW.itemsize:
        raise BadRequest(f"{len(data)} bytes are no rows of {ROW.itemsize}", field="rows")
    for key in keys:
        limits.check_name(key, "name")
    points = np.frombuffer(data, ROW)
    if len(points) and int(points["key"].max()) >= len(keys):
        raise BadRequest(f"a row has key {points['key'].max()} of {len(keys)}", field="rows")
    if len(points) and int(points["timestamp"].min()) < 0:
        raise BadRequest("a row has a time before 1970", field="rows")
    return Rows(keys, points)


def joined(parts: Sequence[Rows]) -> list[Rows]:
    """The same rows in order, in as few parts as the number of keys allows."""
    out: list[Rows] = []
    number: dict[str, int] = {}
    chunks: list[npt.NDArray[Any]] = []

    def close() -> None:
        if chunks:
            out.append(Rows(list(number), np.concatenate(chunks)))
            number.clear()
            chunks.clear()

    for keys, points in parts:
        if not len(points):
            continue
        if len(number.keys() | keys) > _MOST_KEYS:
            close()
        moved = np.array([number.setdefault(key, len(number)) for key in keys], dtype="<u2")
        chunk = points.copy()
        chunk["key"] = moved[points["key"]]
        chunks.append(chunk)
    close()
    return out


def block(run: str, seq: int, rows: Rows) -> MetricBlock:
    """Rows as a block of level 0."""
    return MetricBlock(
        run=run,
        seq=seq,
        count=len(rows.points),
        first=min(rows.keys),
        last=max(rows.keys),
        keys=rows.keys,
        payload=rows.points.tobytes(),
    )


def latest(run: str, experiment: int, rows: Rows) -> list[Metric]:
    """The latest point of each key: that with the greatest (step, timestamp, value), NaN being the least value."""
    points = rows.points
    value = points["value"]
    number = ~np.isnan(value)
    order = np.lexsort(
        (np.where(number, value, 0.0), number, points["timestamp"], points["step"], points["key"])
    )
    keys = points["key"][order]
    ends = order[np.append(np.flatnonzero(np.diff(keys)), len(order) - 1)]
    return [
        Metric(
            run=run,
            key=rows.keys[key],
            experiment=experiment,
            value=value if value == value else None,
            step=step,
            timestamp=timestamp,
        )
        for key, value, timestamp, step in points[ends].tolist()
    ]
