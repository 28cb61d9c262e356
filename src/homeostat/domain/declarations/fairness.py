"""Fairness: which groups of requests are compared, and by what."""

from __future__ import annotations

import msgspec

from homeostat.domain.errors import DeclarationError

RATES = (
    "selection_rate",
    "true_positive_rate",
    "false_positive_rate",
    "accuracy",
    "mean_prediction",
    "mean_absolute_error",
)
OF_TASK: dict[str, tuple[str, ...]] = {
    "binary": RATES[:4],
    "multiclass": ("accuracy",),
    "regression": RATES[4:],
}


class Fairness(msgspec.Struct, frozen=True, kw_only=True):
    """Groups of requests whose rates are compared in each window.

    Args:
        of: The columns of the request that name the groups; each is looked at by itself.
        by: Rates: ``selection_rate`` (the share of scores from one half on; its largest difference is that of
            demographic parity), ``true_positive_rate`` and ``false_positive_rate`` (together equalized odds),
            ``accuracy``; of a regression ``mean_prediction`` and ``mean_absolute_error``. By default the first of the
            task.
        min_rows: Groups with fewer rows are shown and not compared.
    """

    of: tuple[str, ...] | list[str]
    by: tuple[str, ...] | list[str] = ()
    min_rows: int = 50

    def __post_init__(self) -> None:
        given: object = self.of
        if isinstance(given, str) or not given:
            raise DeclarationError(
                f"hs.Fairness(of={self.of!r}) names no columns", remedy='Write it like of=["region"]'
            )
        for name in self.by:
            if name not in RATES:
                raise DeclarationError(
                    f"hs.Fairness compares no {name!r}", remedy=f"Use any of {', '.join(RATES)}"
                )

    def rates(self, task: str) -> tuple[str, ...]:
        """What is compared for a kind of task."""
        return tuple(self.by) or OF_TASK[task][:1]
