"""How long labels take, also while many have not come: what has not come yet is known to take longer than its age.

The share of labels that come within a time is estimated as Kaplan & Meier do ("Nonparametric estimation from incomplete
observations", JASA 53, 1958), with requests without a label as censored at their age. It holds where labels that take
long are not of another kind of request than those of the same age that came.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """How long the labels of some requests take.

    Args:
        requests: Answered requests.
        come: The share of them whose labels have come.
        p50: Seconds within which half of all labels come; None where that is further than any that came.
        p90: Likewise of nine tenths.
        within: By seconds, the share of labels that come within.
    """

    requests: int
    come: float
    p50: float | None
    p90: float | None
    within: dict[str, float] = {}


_AT = {"1h": 3600.0, "1d": 86_400.0, "7d": 604_800.0, "30d": 2_592_000.0}


def delays(waited: npt.ArrayLike, came: npt.ArrayLike) -> Delays | None:
    """The distribution of delays; None without requests.

    Args:
        waited: Seconds from each request to its label, or to now.
        came: Whether the label has come.
    """
    seconds, known = np.maximum(np.asarray(waited, dtype=np.float64), 0.0), np.asarray(came, dtype=bool)
    if not len(seconds):
        return None
    times, share = _kaplan_meier(seconds, known)
    return Delays(
        requests=len(seconds),
        come=float(known.mean()),
        p50=_quantile(times, share, 0.5),
        p90=_quantile(times, share, 0.9),
        within={
            text: float(share[np.searchsorted(times, at, side="right") - 1]) if (times <= at).any() else 0.0
            for text, at in _AT.items()
            if at <= seconds.max()  # beyond the oldest request nothing is known
        },
    )


def _kaplan_meier(seconds: Array, known: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """Times at which labels came, and the share of all that come by then."""
    times, came = np.unique(seconds[known], return_counts=True)
    waiting = len(seconds) - np.searchsorted(np.sort(seconds), times, side="left")
    share: Array = 1 - np.cumprod(1 - came / np.maximum(waiting, 1), dtype=np.float64)
    return times, share


def _quantile(times: Array, share: Array, wanted: float) -> float | None:
    reached = np.flatnonzero(share >= wanted - 1e-12)
    return float(times[reached[0]]) if len(reached) else None
