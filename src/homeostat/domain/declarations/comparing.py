"""An A/B test: versions that answer side by side until one has the better outcome."""

from __future__ import annotations

from typing import Literal

import msgspec

from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import DeclarationError
from homeostat.domain.metrics import LOSSES

CHAMPION = "champion"


class ABTest(msgspec.Struct, frozen=True, kw_only=True):
    """Versions of a model that share the requests until one is shown to be best.

    Args:
        arms: The share of the requests of each arm, by alias or version number. The alias ``champion`` is one of them;
            it answers where another fails, and the shares add up to 1.
        outcome: What is compared: a column of a dataset as ``"orders.bought"``, whose rows meet requests by the
            key of the request, ``"label"`` for what is sent by prediction id, or the task's loss on the model's labels:
            ``"log_loss"``, of a regression ``"squared_error"`` in variances of its training labels, of one of a
            quantile ``"pinball"``.
        better: Which side of the outcome is; of a loss it is the lower.
        bounds: The least and the largest outcome; what lies beyond counts as these.
        allocation: ``"fixed"`` shares, or ``"thompson"``: each arm's share follows the chance that it is best,
            given the outcomes so far.
        false_alarm: The chance to name an arm the best that is not.
        decide_within: The deadline.
        at_deadline: What happens then without a winner: the champion stays, or the arm with the best mean outcome
            takes over (``"leader"``).
        min_outcomes: Outcomes of each arm before shares move or a leader counts.
    """

    arms: dict[str, float]
    outcome: str = "log_loss"
    better: Literal["higher", "lower"] = "higher"
    bounds: tuple[float, float] = (0.0, 1.0)
    allocation: Literal["fixed", "thompson"] = "fixed"
    false_alarm: float = 0.05
    decide_within: str = "14d"
    at_deadline: Literal["champion", "leader"] = "champion"
    min_outcomes: int = 100

    def __post_init__(self) -> None:
        parse_duration(self.decide_within)
        if CHAMPION not in self.arms or len(self.arms) < 2:
            raise DeclarationError(
                f"an A/B test of {', '.join(self.arms) or 'nothing'} lacks the champion or its rival",
                remedy='Give two arms or more, as arms={"champion": 0.5, "challenger": 0.5}',
            )
        if abs(sum(self.arms.values()) - 1) > 1e-9 or not all(0 < share < 1 for share in self.arms.values()):
            raise DeclarationError(
                f"the shares {list(self.arms.values())} of an A/B test do not add up to 1",
                remedy="Give each arm a share between 0 and 1, together 1",
            )
        if not 0 < self.false_alarm < 1:
            raise DeclarationError(
                f"A/B test false_alarm is {self.false_alarm}", remedy="Give a chance, as 0.05"
            )
        if not self.bounds[0] < self.bounds[1]:
            raise DeclarationError(
                f"A/B test bounds are {self.bounds}", remedy="Give the least and the largest outcome"
            )
        for name, value, known in (
            ("better", self.better, ("higher", "lower")),
            ("allocation", self.allocation, ("fixed", "thompson")),
            ("at_deadline", self.at_deadline, ("champion", "leader")),
        ):
            if value not in known:
                raise DeclarationError(
                    f"A/B test {name} is {value!r}", remedy=f"Use one of {', '.join(known)}"
                )
        if self.outcome not in (*LOSSES, "label") and not all(self.outcome.rpartition(".")[::2]):
            raise DeclarationError(
                f"A/B test outcome is {self.outcome!r}",
                remedy='Name a column of a dataset, as "orders.bought", or use "label" or "log_loss"',
            )
