"""The blocks in which a run's points are kept, so that logging one touches little and so does reading a history.

Few points are added to the newest block until it has ``SMALL``; more begin a new one. Where ``LARGE`` points wait in
blocks of level 0, these are merged into one of level 1, in order of keys; and where ``WIDE`` of level 1 wait that hold
many keys, these are merged and cut at keys into blocks of level 2, so that the history of one key passes over most of
them. No merge reads more than a few megabytes, and each point is written three times at most, besides in small blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.domain.tracking import MetricBlock
from homeostat.engine.tracking.arrays import ROW, WIDER, Rows, joined, ordered, used
from homeostat.engine.tracking.points import SMALL, History

LARGE: Final = 1 << 14
WIDE: Final = 16
SORTED: Final = 2  # the level of blocks that are not merged any more


def extended(run: str, newest: MetricBlock | None, rows: Rows) -> list[MetricBlock]:
    """What is to be written when rows are added: a longer ``newest``, or new blocks after it."""
    points = len(rows.points)
    if newest is not None and newest.level == 0 and newest.count + points <= SMALL:
        number = {key: place for place, key in enumerate(newest.keys)}
        added = rows.points
        if rows.keys != newest.keys[: len(rows.keys)]:
            moved = np.array([number.setdefault(key, len(number)) for key in rows.keys], dtype="<u2")
            added = added.copy()
            added["key"] = moved[added["key"]]
        return [
            msgspec.structs.replace(
                newest,
                count=newest.count + points,
                pending=newest.pending + points,
                first=min(number),
                last=max(number),
                keys=list(number),
                payload=newest.payload + added.tobytes(),
            )
        ]
    made: list[MetricBlock] = []
    waiting = newest.pending if newest is not None and newest.level == 0 else 0
    for begin in range(0, points, LARGE):
        part = rows.points[begin : begin + LARGE]
        waiting += len(part)
        seq = (newest.seq + 1 if newest is not None else 0) + len(made)
        made.append(
            _block(
                run, seq, 0, used(Rows(rows.keys, part)) if points > LARGE else Rows(rows.keys, part), waiting
            )
        )
    return made


def merged(blocks: Sequence[MetricBlock]) -> list[MetricBlock]:
    """Blocks of one level as fewer of the next, with the numbers of the first of them.

    Args:
        blocks: All of one level that lie beside each other, in order.
    """
    rows = joined(map(rows_of, blocks))
    points = ordered(rows.points)
    # Blocks may be larger than LARGE, and there are no numbers for more than there were.
    pieces = np.array_split(points, max(1, min(len(blocks), len(points) // LARGE)))
    return [
        _block(block.run, block.seq, block.level + 1, used(Rows(rows.keys, piece)), 0)
        for block, piece in zip(blocks, pieces, strict=False)
    ]


def history(blocks: Iterable[MetricBlock], key: str) -> History:
    """The points of ``key`` in ``blocks``."""
    parts = [np.empty(0, ROW)]
    for block in blocks:
        if key in block.keys:
            points = np.frombuffer(block.payload, ROW)
            parts.append(points[points["key"] == block.keys.index(key)] if len(block.keys) > 1 else points)
    points = np.concatenate(parts)
    points["key"] = 0
    points = ordered(points)
    return History(*(np.ascontiguousarray(points[name]) for name in ("timestamp", "step", "value")))


def histories(blocks: Iterable[MetricBlock], keys: Sequence[str]) -> list[History]:
    """The points of each of ``keys`` in ``blocks``, as ``history`` has them."""
    wanted = {key: place for place, key in enumerate(keys)}
    parts = [np.empty(0, WIDER)]
    for block in blocks:
        points = np.frombuffer(block.payload, ROW)
        places = np.array([wanted.get(key, -1) for key in block.keys])[points["key"]]
        part = points[places >= 0].astype(WIDER)
        part["key"] = places[places >= 0]
        parts.append(part)
    points = ordered(np.concatenate(parts))
    ends = np.searchsorted(points["key"], np.arange(len(keys) + 1))
    return [
        History(*(np.ascontiguousarray(points[name][begin:end]) for name in ("timestamp", "step", "value")))
        for begin, end in pairwise(ends.tolist())
    ]


def counts(block: MetricBlock) -> npt.NDArray[np.int64]:
    """How many points of each of its keys a block has."""
    found: npt.NDArray[np.int64] = np.bincount(
        np.frombuffer(block.payload, ROW)["key"], minlength=len(block.keys)
    )
    return found


def rows_of(block: MetricBlock) -> Rows:
    """The rows of a block."""
    return Rows(block.keys, np.frombuffer(block.payload, ROW))


def _block(run: str, seq: int, level: int, rows: Rows, pending: int) -> MetricBlock:
    return MetricBlock(
        run=run,
        seq=seq,
        level=level,
        count=len(rows.points),
        pending=pending,
        first=min(rows.keys),
        last=max(rows.keys),
        keys=rows.keys,
        payload=rows.points.tobytes(),
    )
