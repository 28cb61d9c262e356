"""Points that came as rows: checked and put together without becoming objects one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.domain.errors import BadRequest
from homeostat.domain.tracking import Metric, MetricBlock
from homeostat.engine.tracking import limits
from homeostat.engine.tracking.arrays import KEYS, ROW, Rows
from homeostat.engine.tracking.arrays import latest as latest_of
from homeostat.engine.tracking.blocks import SORTED


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
        if len(number.keys() | keys) > KEYS:
            close()
        moved = np.array([number.setdefault(key, len(number)) for key in keys], dtype="<u2")
        chunk = points.copy()
        chunk["key"] = moved[points["key"]]
        chunks.append(chunk)
    close()
    return out


def block(run: str, seq: int, rows: Rows) -> MetricBlock:
    """Rows of few keys, in order of them, as a block that is not merged again."""
    return MetricBlock(
        run=run,
        seq=seq,
        level=SORTED,
        count=len(rows.points),
        first=min(rows.keys),
        last=max(rows.keys),
        keys=rows.keys,
        payload=rows.points.tobytes(),
    )


def latest(run: str, experiment: int, rows: Rows) -> list[Metric]:
    """The latest point of each key, as it is kept."""
    return [
        Metric(
            run=run,
            key=point.key,
            experiment=experiment,
            value=point.value if point.value == point.value else None,
            step=point.step,
            timestamp=point.timestamp,
        )
        for point in latest_of(rows)
    ]
