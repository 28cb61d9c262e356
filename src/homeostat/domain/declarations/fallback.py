"""What answers in place of a version that cannot."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import msgspec

from homeostat.domain.declarations.tasks import Binary, Task
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import DeclarationError


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment answers where it would have to answer with an error. Such an answer says what it is.

    Args:
        features: Where the online store does not answer: with what was last read of the same entities, at most so
            long ago, as ``10m``.
        previous: Where the version fails on a row, or cannot be loaded: by the champion before it.
        answer: Where nothing else can: this, in place of what the model would give: a probability, of a regression
            a number, of several classes the probability of each in their order.
    """

    features: str | None = None
    previous: bool = False
    answer: float | Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.features is not None:
            parse_duration(self.features)
        if self.features is None and not self.previous and self.answer is None:
            raise DeclarationError(
                "hs.Fallback() falls back on nothing",
                remedy='Give any of features="10m", previous=True, answer=0.5',
            )

    def problem(self, task: Task) -> str:
        """Why ``answer`` is none to a task; empty where it is one, or there is none."""
        answer = self.answer
        if answer is None:
            return ""
        given = list(answer) if isinstance(answer, Sequence) else [answer]
        if isinstance(answer, Sequence) != bool(task.classes) or not all(map(isfinite, given)):
            return "probabilities of its classes" if task.classes else "one number"
        if isinstance(task, Binary) and not 0 <= given[0] <= 1:
            return "a probability"
        if task.classes and (len(given) != len(task.classes) or min(given) < 0 or abs(sum(given) - 1) > 1e-6):
            return f"{len(task.classes)} probabilities that add up to 1"
        return ""
