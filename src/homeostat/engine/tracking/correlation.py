"""How strongly two conditions hold together: normalised pointwise mutual information of counts.

(G. Bouma, Normalized (pointwise) mutual information in collocation extraction, 2009)
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Counts(NamedTuple):
    """Of how many things each of two conditions holds, both hold, and how many there are."""

    first: int
    second: int
    both: int
    all: int


def npmi(counts: Counts, *, smoothing: float = 0.0) -> float | None:
    """From -1 (never together) by way of 0 (independent) to 1 (always together).

    Args:
        counts: The counts.
        smoothing: What is added to each cell of the table; 0.5 is Jeffreys' prior, for small counts.

    Returns:
        The number; None where it is not defined, as where one condition holds of nothing.
    """
    first, second, both, all = counts
    if not first or not second:
        return None
    if not both and not smoothing:
        return -1.0
    if first == second == both == all:
        return 1.0
    joint = both + smoothing
    whole = all + 4 * smoothing
    shares = (first + 2 * smoothing) * (second + 2 * smoothing)
    found = math.log(joint * whole / shares) / math.log(whole / joint)
    return max(-1.0, min(1.0, found))
