"""Against what a metric is drawn: its step, the time, or another metric of the same run.

A run says so by tags, so that every client sees it and can change it: ``homeostat.axis`` for all of its metrics,
``homeostat.axis.val`` for the metric ``val`` and those below it, as ``val/loss`` or ``val.loss``; the longest name that
fits counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from homeostat.engine.tracking import limits

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from homeostat.engine.tracking.points import History

STEP: Final = "step"
TIME: Final = "time"
_TAG: Final = "homeostat.axis"


def tags_of(axes: str | Mapping[str, str]) -> dict[str, str]:
    """The tags that declare axes.

    Args:
        axes: The axis of all metrics, or axes by the metric's name or the beginning of it up to a slash or a dot.

    Raises:
        BadRequest: a name cannot be.
    """
    tags = {_TAG: axes} if isinstance(axes, str) else {f"{_TAG}.{name}": axis for name, axis in axes.items()}
    for axis in tags.values():
        limits.check_name(axis, "axes")
    limits.check_tags(tags)
    return tags


def axis_of(tags: Mapping[str, str], metric: str) -> str:
    """The axis of a metric, as the tags of its run say: ``step``, ``time``, or the name of a metric."""
    name = metric
    while name:
        if axis := tags.get(f"{_TAG}.{name}"):
            return axis
        name = name[: max(name.rfind("/"), name.rfind("."), 0)]
    return tags.get(_TAG) or STEP


def positions(points: History, axis: History) -> npt.NDArray[np.float64]:
    """Where points lie on the axis that another metric is: at its last value at or before their step.

    Returns:
        Of the shape of the points; NaN where the axis had no value yet.
    """
    import numpy as np

    order = np.argsort(
        axis.step, kind="stable"
    )  # histories are ordered by time: of one step the newest is last
    found = np.searchsorted(axis.step[order], points.step, side="right") - 1
    values = np.append(axis.value[order], np.nan)  # -1 is the last of these
    out: npt.NDArray[np.float64] = values[found]
    return out
