"""The names of metrics: which kind of task has which, which way is better, and metrics of a project's own.

A task's first two metrics are shown for every window; the others where a gate or a service level asks for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from homeostat.domain.errors import DeclarationError
from homeostat.domain.refs import is_name

BINARY: Final = ("log_loss", "auc", "brier", "accuracy", "calibration_error")
MULTICLASS: Final = ("log_loss", "accuracy", "balanced_accuracy", "macro_f1", "calibration_error")
REGRESSION: Final = ("rmse", "mae", "r2", "pinball", "coverage_error")
FORECAST: Final = ("mae", "rmse", "mase", "wape", "r2", "pinball", "coverage_error")
RANKING: Final = ("ndcg", "mrr", "map", "hit_rate")
METRICS: Final = tuple(dict.fromkeys((*BINARY, *MULTICLASS, *REGRESSION, *FORECAST, *RANKING)))

LOSSES: Final = ("log_loss", "squared_error", "pinball")
"""What versions are compared by, request by request; a task has one of them."""

HIGHER_IS_BETTER: Final = frozenset(
    {"auc", "accuracy", "balanced_accuracy", "macro_f1", "r2", "availability", *RANKING}
)
"""Every other metric is better when it is lower."""


@dataclass(frozen=True)
class Metric:
    """A metric of a project's own.

    Args:
        name: What it is called in gates, windows and service levels.
        better: Which way is better.
        function: Of labels and predictions, two arrays of shape ``(n,)`` (``(n, classes)`` for the predictions of
            several classes), it gives a number, or None where there is none. Of a ranking it is given a third: the
            number of the query that each row belongs to.
    """

    name: str
    better: Literal["higher", "lower"]
    function: Callable[..., float | None]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise DeclarationError(
                f"metric {self.name!r} has no function", remedy="Decorate one that takes (y, p)"
            )
        if not is_name(self.name) or self.name in METRICS or self.name in HIGHER_IS_BETTER:
            raise DeclarationError(
                f"{self.name!r} cannot name a metric",
                remedy=f"Use letters, digits and _, and none of {', '.join(METRICS)}",
            )
        if self.better not in ("higher", "lower"):
            raise DeclarationError(
                f"metric {self.name!r} is better {self.better!r}", remedy='Say "higher" or "lower"'
            )
