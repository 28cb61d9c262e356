"""The decision of an A/B test: which of several arms has the better outcome, looked at as often as one likes.

Each pair of arms is compared by a test of the mean of differences that may be looked at after every outcome
(``sequential``: betting, Waudby-Smith & Ramdas, JRSS B 86 (2024), 1-27), on the n-th outcomes of both (``pairing``).
An arm wins once it is shown better than every other one. For an arm to win wrongly, some arm that is no worse must be
shown worse than it; of K arms each is shown so with a chance of at most α/K, so by the union bound no arm wins wrongly
with more than α. That holds whatever shares the arms have and however these follow the outcomes, so a bandit decides
by the same rule.

The bandit is Thompson's (Biometrika 25 (1933), 285-294) with batches: from a uniform prior and outcomes scaled to 0 to
1, each arm's mean is taken to have a Beta distribution, and its share is the chance that its mean is the largest. For
outcomes between 0 and 1 Agrawal & Goyal ("Analysis of Thompson sampling for the multi-armed bandit problem", COLT 2012)
draw a 0 or 1 of each; here the outcome counts as it is, which gives the same mean and wider shares than need be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.domain.declarations.comparing import ABTest
from homeostat.domain.durations import format_duration, parse_duration
from homeostat.engine.control.pairing import Leftover, pairs
from homeostat.engine.control.sequential import MeanTest, State

_DRAWS: Final = 4_000
_LEAST_SHARE: Final = 0.02  # an arm that gets nothing can never show that it was misjudged
_STEP: Final = 0.02  # shares that would move by less stay: moving some takes keys from their arm


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The outcomes of one arm so far, scaled to 0 to 1, more is better."""

    count: int = 0
    total: float = 0.0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now, and why; ``winner`` is the version that takes over, 0 for none."""

    action: Literal["continue", "end"]
    winner: int
    reason: str
    statistics: dict[str, Any]


class TrialTest:
    """The comparisons of one A/B test. Feed it each outcome once, in the order they came, then ask ``decide``.

    Args:
        spec: The declaration.
        shares: The share that each version began with.
        statistics: Where it stood; what ``statistics`` gave.
    """

    def __init__(
        self, spec: ABTest, shares: Mapping[int, float], statistics: Mapping[str, Any] | None = None
    ) -> None:
        self.spec, self.shares = spec, dict(shares)
        before = statistics or {}
        arms, compared = before.get("arms", {}), before.get("pairs", {})
        self.seen = {v: msgspec.convert(arms.get(str(v), {}).get("seen", {}), Seen) for v in self.shares}
        self._left: dict[tuple[int, int], Leftover] = {}
        self.tests: dict[tuple[int, int], MeanTest] = {}
        for a, b in combinations(self.shares, 2):
            stored = compared.get(f"{a}:{b}", {})
            self._left[a, b] = msgspec.convert(stored.get("left", {}), Leftover)
            for pair, name in (((a, b), "first"), ((b, a), "second")):
                state = msgspec.convert(stored[name], State) if name in stored else None
                self.tests[pair] = MeanTest(0.0, low=-1.0, state=state)

    @property
    def threshold(self) -> float:
        """The e-value at which one arm is shown better than another."""
        return len(self.shares) / self.spec.false_alarm

    def observe(self, versions: Sequence[int], outcomes: npt.ArrayLike) -> None:
        """Take in outcomes in the order they came.

        Args:
            versions: Which arm each is of.
            outcomes: Scaled to 0 to 1, more is better.
        """
        arms, values = np.asarray(versions), np.asarray(outcomes, dtype=np.float64)
        of = {v: values[arms == v] for v in self.shares}
        for version, found in of.items():
            seen = self.seen[version]
            self.seen[version] = Seen(
                count=seen.count + found.size,
                total=seen.total + float(found.sum()),
            )
        for (a, b), left in self._left.items():
            differences, self._left[a, b] = pairs(of[a].tolist(), of[b].tolist(), left, self._ratio(a, b))
            self.tests[a, b].update(differences)
            self.tests[b, a].update(-differences)

    def _ratio(self, a: int, b: int) -> tuple[int, int]:
        """How many outcomes of either are one observation: fixed shares are known beforehand, a bandit's are not."""
        if self.spec.allocation == "thompson":
            return 1, 1
        least = min(self.shares[a], self.shares[b])
        return max(1, round(self.shares[a] / least)), max(1, round(self.shares[b] / least))

    def decide(self, now: datetime, began: datetime) -> Verdict:
        """Decide at any time."""
        statistics = self.statistics()
        for version in self.shares:
            others = [other for other in self.shares if other != version]
            if all(self.tests[version, other].peak >= self.threshold for other in others):
                least = min(self.tests[version, other].peak for other in others)
                reason = (
                    f"@{version} is best: mean outcome {self._mean(version):.4g}, the others "
                    f"{', '.join(f'@{other} {self._mean(other):.4g}' for other in others)} "
                    f"(e-value {least:.3g} of {self.threshold:.3g} or more against each)"
                )
                return Verdict(action="end", winner=version, reason=reason, statistics=statistics)
        deadline = parse_duration(self.spec.decide_within)
        if now - began < deadline:
            left = timedelta(seconds=round((deadline - (now - began)).total_seconds()))
            reason = f"no arm is shown to be best yet; the deadline is in {format_duration(left)}"
            return Verdict(action="continue", winner=0, reason=reason, statistics=statistics)
        return self._at_deadline(statistics)

    def _at_deadline(self, statistics: dict[str, Any]) -> Verdict:
        leader = max(self.shares, key=lambda version: self._goodness(version))
        enough = all(seen.count >= self.spec.min_outcomes for seen in self.seen.values())
        means = ", ".join(f"@{v} {self._mean(v):.4g} on {self.seen[v].count}" for v in self.shares)
        if self.spec.at_deadline == "leader" and enough:
            reason = f"the deadline came without a winner and @{leader} leads: {means}"
            return Verdict(action="end", winner=leader, reason=reason, statistics=statistics)
        why = "" if enough else f", and an arm has fewer than {self.spec.min_outcomes} outcomes"
        reason = f"the deadline came without a winner{why}: {means}; the champion stays"
        return Verdict(action="end", winner=0, reason=reason, statistics=statistics)

    def weights(self, seed: int, present: Mapping[int, float]) -> dict[int, float] | None:
        """The shares that the arms should have now; None where they stay as they are.

        Args:
            seed: Of the draws, so that they can be repeated.
            present: The shares they have.
        """
        if self.spec.allocation == "fixed":
            return None
        if any(seen.count < self.spec.min_outcomes for seen in self.seen.values()):
            return None
        rng = np.random.default_rng(seed)
        draws = np.stack(
            [rng.beta(1 + s.total, 1 + s.count - s.total, _DRAWS) for s in self.seen.values()], axis=1
        )
        best = np.bincount(draws.argmax(axis=1), minlength=len(self.shares)) / _DRAWS
        room = 1 - _LEAST_SHARE * len(self.shares)
        wanted = {v: round(_LEAST_SHARE + room * float(p), 4) for v, p in zip(self.seen, best, strict=True)}
        moved = max(abs(wanted[v] - present.get(v, 0.0)) for v in wanted)
        return wanted if moved >= _STEP else None

    def statistics(self) -> dict[str, Any]:
        """Every number behind a decision, as JSON can hold it."""
        return {
            "threshold": self.threshold,
            "arms": {
                str(v): {
                    "outcomes": seen.count,
                    "mean": self._mean(v) if seen.count else None,
                    "seen": msgspec.to_builtins(seen),
                }
                for v, seen in self.seen.items()
            },
            "pairs": {
                f"{a}:{b}": {
                    "first_better": self.tests[a, b].peak,
                    "second_better": self.tests[b, a].peak,
                    "count": self.tests[a, b].state.count,
                    "difference": self.tests[a, b].observed,
                    "first": self.tests[a, b].dump(),
                    "second": self.tests[b, a].dump(),
                    "left": msgspec.to_builtins(left),
                }
                for (a, b), left in self._left.items()
            },
        }

    def _goodness(self, version: int) -> float:
        seen = self.seen[version]
        return seen.total / seen.count if seen.count else 0.0

    def _mean(self, version: int) -> float:
        """The mean outcome in its own unit."""
        return float(raw(self.spec, np.array([self._goodness(version)]))[0])


def scaled(spec: ABTest, outcomes: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Outcomes in their own unit as numbers from 0 to 1, more is better."""
    low, high = spec.bounds
    found: npt.NDArray[np.float64] = (np.clip(np.asarray(outcomes, dtype=np.float64), low, high) - low) / (
        high - low
    )
    return found if spec.better == "higher" else 1 - found


def raw(spec: ABTest, goodness: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What ``scaled`` made, in the outcome's own unit."""
    low, high = spec.bounds
    return low + (high - low) * (goodness if spec.better == "higher" else 1 - goodness)
