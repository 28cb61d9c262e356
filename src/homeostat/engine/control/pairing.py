"""Two streams of observations as one of differences, for tests of a mean: ``blocks`` by time, ``pairs`` by number.

Both give the same differences however the streams are cut into looks, so a test over them may be looked at after
every observation: ``pairs`` while no more wait for a counterpart than are kept. What has none yet waits in a state that
JSON can hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
# Leftovers beyond this are passed over: by their number alone, never by their values, so that no test is misled.
_MOST_WAITING: Final = 5_000


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A block that is not complete: how many observations of either stream it has, and their sums."""

    mine: int = 0
    theirs: int = 0
    mine_sum: float = 0.0
    theirs_sum: float = 0.0


def blocks(values: Array, mine: npt.NDArray[np.bool_], begun: Block) -> tuple[Array, Block]:
    """Differences of neighbours in one merged stream: a block ends once it has an observation of either side.

    What disturbs both sides for a while cancels. The side that an observation falls on must not depend on its value.

    Args:
        values: Observations of both sides in their order, shape ``(n,)``.
        mine: Which of them are of the first side, shape ``(n,)``.
        begun: The block at the end of the last look.

    Returns:
        For each block that ended, the mean of the first side less that of the second; and the block begun.
    """
    out: list[float] = []
    counts, sums = [begun.theirs, begun.mine], [begun.theirs_sum, begun.mine_sum]
    for value, side in zip(values.tolist(), mine.tolist(), strict=True):
        counts[side] += 1
        sums[side] += value
        if counts[0] and counts[1]:
            out.append(sums[1] / counts[1] - sums[0] / counts[0])
            counts, sums = [0, 0], [0.0, 0.0]
    return np.array(out), Block(mine=counts[1], theirs=counts[0], mine_sum=sums[1], theirs_sum=sums[0])


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    """Observations of two streams that have no counterpart yet."""

    mine: list[float] = []
    theirs: list[float] = []


def pairs(
    mine: Sequence[float], theirs: Sequence[float], left: Leftover, ratio: tuple[int, int] = (1, 1)
) -> tuple[Array, Leftover]:
    """Differences of the n-th observations of two streams: for outcomes, whose number may depend on their values.

    A bandit sends more traffic to what did well, so the number of outcomes depends on them, but not what the n-th
    of an arm is. With ``ratio`` (a, b) means of a and of b observations are compared.
    """
    a, b = ratio
    first, second = [*left.mine, *mine], [*left.theirs, *theirs]
    count = min(len(first) // a, len(second) // b)
    means = [
        np.array(stream[: count * size], dtype=np.float64).reshape(count, size).mean(axis=1)
        for stream, size in ((first, a), (second, b))
    ]
    rest = Leftover(
        mine=first[count * a :][:_MOST_WAITING],
        theirs=second[count * b :][:_MOST_WAITING],
    )
    return means[0] - means[1], rest
