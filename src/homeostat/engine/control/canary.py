"""The canary's decision: roll back once the candidate is shown to be worse, else promote at the deadline.

Three things are watched, each by a test that may be looked at after every request (``sequential``):

* the task's loss, such as ``log_loss``: on each labelled request that the candidate answered, its loss less the
  champion's, whose shadow answer to the same request is in the prediction log. Losses are cut where they become
  large, which bounds them (``losses``).
* ``errors``: on each request of the candidate's arm, whether it failed where the champion, asked at once in its place,
  did not. What fails for both is not the candidate's fault.
* ``latency``: how much larger the share of slow answers is than among the champion's answers at the same time, by the
  time that a version itself took for its part of a batch: how long answers waited for the other's part is not its own.
  A machine that is slow for a while is slow for both. An answer is slow past a threshold x, and a quantile is at most x
  exactly where the share of what is slower is small enough: this is a test of a quantile (Howard & Ramdas, "Sequential
  estimation of quantiles with applications to A/B testing and best-arm identification", Bernoulli 28 (2022),
  1704-1728).

The chance of a false alarm over the whole canary is at most ``Canary.false_alarm``: each of the k things
that are watched has a k-th of it, and rolls back at an e-value of k divided by it. That bounds how often a
sound candidate is called worse. One that is called neither worse nor, by its mean loss at the deadline, no
worse goes on up to twice the deadline and is then rolled back as undecided: with few labels that happens
to sound candidates too, so ``min_requests`` should be large enough for ``tolerance`` (the mean of n
differences errs by about 0.2/√n nats).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.domain.declarations.operation import Canary
from homeostat.domain.durations import format_duration, parse_duration
from homeostat.engine.control.losses import LogLoss, Loss, name_of
from homeostat.engine.control.pairing import Block, blocks
from homeostat.engine.control.sequential import MeanTest, State

# Requests that may fail where the champion does not: one that was lost must not end a canary of a few hundred.
FAILING: Final = 0.001
SLOWER: Final = 0.02  # this much more of the answers may be slow


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """How the champion did before the canary began.

    Args:
        slow_after: Seconds after which an answer is slow: its service level, else twice its own p99.
    """

    slow_after: float = 0.05


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now, and why. ``statistics`` is what ``CanaryTest.restore`` goes on from."""

    action: Literal["continue", "rollback", "promote"]
    reason: str
    statistics: dict[str, Any]


class CanaryTest:
    """The tests of one canary. Feed it each observation once, in the order they came, then ask ``decide``.

    Args:
        canary: The declaration.
        baseline: How the champion did before; fixed for the whole canary.
        states: Where the tests stood, by what is watched.
        block: Answers whose latencies have no counterpart in the other arm yet.
        loss: What an answer costs; fixed for the whole canary.
    """

    def __init__(
        self,
        canary: Canary,
        baseline: Baseline | None = None,
        states: Mapping[str, State] | None = None,
        block: Block | None = None,
        loss: Loss | None = None,
    ) -> None:
        self.canary, self.baseline, self.loss = canary, baseline or Baseline(), loss or LogLoss()
        self._lost = name_of(self.loss)
        self._block = block or Block()
        self._share = canary.false_alarm / max(len(set(canary.watch)), 1)
        before = dict(states or {})
        build = {"errors": self._errors_test, "latency": self._latency_test, self._lost: self._loss_test}
        self.tests: dict[str, MeanTest] = {
            name: build[name](before.get(name)) for name in build if name in canary.watch
        }

    @classmethod
    def restore(cls, canary: Canary, statistics: Mapping[str, Any]) -> CanaryTest:
        """The test as it stood when a Decision gave ``statistics``."""
        baseline = msgspec.convert(statistics["baseline"], Baseline)
        watched = statistics["watched"]
        return cls(
            canary,
            baseline,
            {name: msgspec.convert(watched[name]["state"], State) for name in watched},
            msgspec.convert(statistics.get("block", {}), Block),
            msgspec.convert(statistics["loss"], Loss) if "loss" in statistics else None,
        )

    def _errors_test(self, state: State | None) -> MeanTest:
        return MeanTest(FAILING, state=state)

    def _latency_test(self, state: State | None) -> MeanTest:
        return MeanTest(SLOWER, low=-1.0, state=state)

    def _loss_test(self, state: State | None) -> MeanTest:
        bound = self.loss.bound
        return MeanTest(self.canary.tolerance, low=-bound, high=bound, state=state)

    def observe(self, *, failed: npt.ArrayLike, champion_failed: npt.ArrayLike | None = None) -> None:
        """Take in requests of the candidate's arm since the last look, in the order of the log.

        Args:
            failed: For each, whether the candidate failed.
            champion_failed: For the same requests, whether the champion failed too.
        """
        errors = np.asarray(failed, dtype=bool)
        if champion_failed is not None:
            errors = errors & ~np.asarray(champion_failed, dtype=bool)
        if "errors" in self.tests:
            self.tests["errors"].update(errors.astype(np.float64))

    def observe_seconds(self, seconds: npt.ArrayLike, mine: npt.ArrayLike) -> None:
        """Take in how long answers of both arms took, in the order of the log.

        Args:
            seconds: That the version took for its part of the batch that the answer was in.
            mine: Which of them the candidate gave; the champion gave the others.
        """
        if "latency" not in self.tests:
            return
        slow = (np.asarray(seconds, dtype=np.float64) > self.baseline.slow_after).astype(np.float64)
        differences, self._block = blocks(slow, np.asarray(mine, dtype=bool), self._block)
        self.tests["latency"].update(differences)

    def observe_labels(self, y: npt.ArrayLike, p: npt.ArrayLike, p_champion: npt.ArrayLike) -> None:
        """Take in requests of the candidate's arm whose labels have come, in the order they came.

        Requests that either model has no score for (NaN) are left out: they count as errors.

        Args:
            y: Labels: 0 and 1, places of classes, or numbers.
            p: The candidate's predictions; of several classes their probabilities, shape ``(n, classes)``.
            p_champion: The champion's of the same requests.
        """
        if self._lost not in self.tests:
            return
        label = np.asarray(y, dtype=np.float64)
        mine, theirs = (np.asarray(scores, dtype=np.float64) for scores in (p, p_champion))
        both = np.isfinite(mine + theirs).reshape(len(label), -1).all(axis=1)
        difference = self.loss.of(label[both], mine[both]) - self.loss.of(label[both], theirs[both])
        self.tests[self._lost].update(np.clip(difference, -self.loss.bound, self.loss.bound))

    def decide(self, now: datetime, began: datetime, requests: int, labelled: int) -> Decision:
        """Decide at any time.

        Args:
            now: The world's time.
            began: When the canary began.
            requests: Requests that the candidate was asked.
            labelled: How many of them have a label.
        """
        worse = [name for name in self.tests if self.tests[name].peak >= self.threshold]
        statistics = self.statistics(requests, labelled)
        if worse:
            reason = "the candidate is worse: " + "; ".join(self._evidence(name) for name in worse)
            return Decision(action="rollback", reason=reason, statistics=statistics)
        deadline = parse_duration(self.canary.decide_within)
        if now - began < deadline:
            left = timedelta(seconds=round((deadline - (now - began)).total_seconds()))
            reason = f"nothing watched is shown to be worse; the deadline is in {format_duration(left)}"
            return Decision(action="continue", reason=reason, statistics=statistics)
        missing = self._missing(requests, labelled)
        if not missing:
            reason = f"{self._outcome(requests)} and nothing watched is shown to be worse"
            return Decision(action="promote", reason=reason, statistics=statistics)
        if now - began < 2 * deadline:
            reason = f"past the deadline, but {missing}: going on up to twice the deadline"
            return Decision(action="continue", reason=reason, statistics=statistics)
        reason = f"undecided after twice the deadline: {missing}"
        return Decision(action="rollback", reason=reason, statistics=statistics)

    @property
    def threshold(self) -> float:
        """The e-value at which any of what is watched rolls back."""
        return 1 / self._share

    def statistics(self, requests: int, labelled: int) -> dict[str, Any]:
        """Every number behind a decision, as JSON can hold it."""
        return {
            "requests": requests,
            "labelled": labelled,
            "baseline": msgspec.to_builtins(self.baseline),
            "block": msgspec.to_builtins(self._block),
            "loss": msgspec.to_builtins(self.loss),
            "watched": {
                name: {
                    "e_value": test.e_value,
                    "peak": test.peak,
                    "threshold": self.threshold,
                    "mean": test.observed,
                    "allowed": test.mean,
                    "count": test.state.count,
                    "state": test.dump(),
                }
                for name, test in self.tests.items()
            },
        }

    def _missing(self, requests: int, labelled: int) -> str:
        """What still keeps the candidate from being promoted; empty when nothing does."""
        needed = self.canary.min_requests
        loss = self.tests.get(self._lost)
        if loss is None:
            return "" if requests >= needed else f"the candidate was asked {requests} of {needed} requests"
        if min(labelled, loss.state.count) < needed:
            return f"{min(labelled, loss.state.count)} of {needed} labelled requests have come"
        if (loss.observed or 0.0) > self.canary.tolerance:
            return (
                f"{self.loss.words} is {loss.observed:+.4f} against the champion's on {loss.state.count} requests, "
                f"over the {self.canary.tolerance:g} that counts as no worse"
            )
        return ""

    def _outcome(self, requests: int) -> str:
        loss = self.tests.get(self._lost)
        if loss is None:
            return f"the deadline came after {requests} requests"
        return (
            f"{self.loss.words} is {loss.observed:+.4f} against the champion's "
            f"on {loss.state.count} labelled requests"
        )

    def _evidence(self, name: str) -> str:
        test = self.tests[name]
        mean = test.observed or 0.0
        what = {
            "errors": f"{mean:.2%} of requests failed that the champion answers, {test.mean:.1%} allowed",
            "latency": f"slow answers are {mean:+.1%} against the champion's, {test.mean:.0%} allowed",
            self._lost: f"{self.loss.words} is {mean:+.4f} against the champion's, {test.mean:g} allowed",
        }[name]
        return f"{what} ({test.state.count} requests, e-value {test.peak:.3g} of {self.threshold:.3g})"
