"""Thousands of canaries looked at after every request: how often a sound one is called worse, and a worse one is.

The numbers are in the test report (``record_property``) and, from the same functions, in the benchmarks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from homeostat.domain.declarations import Canary
from homeostat.engine.control.canary import Baseline, CanaryTest
from homeostat.engine.control.losses import LogLoss
from homeostat.engine.control.sequential import Array, bets, mixture, wealth

STEADY = Baseline(slow_after=0.05)
TOLERANCE = 0.01
RUNS, REQUESTS = 2_000, 400
Draw = Callable[[np.random.Generator, tuple[int, int]], Array]


def losses(noise: float, shift: float) -> Draw:
    """Differences of log loss between two models of one truth; ``shift`` is their mean."""

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
        truth = rng.normal(-1.2, 1.0, shape)
        y = rng.random(shape) < 1 / (1 + np.exp(-truth))
        sides = []
        for extra in (noise, 0.0):
            logits = truth + rng.normal(0, 0.3, shape) + (extra * rng.normal(0, 1, shape) if extra else 0)
            p = np.clip(1 / (1 + np.exp(-logits)), 0.01, 0.99)
            sides.append(-np.log(np.where(y, p, 1 - p)))
        found: Array = np.clip(sides[0] - sides[1] + shift, -LogLoss().bound, LogLoss().bound)
        return found

    return draw


def failures(rate: float) -> Draw:
    return lambda rng, shape: (rng.random(shape) < rate).astype(np.float64)


def slower(mine: float, theirs: float) -> Draw:
    """An answer of the candidate beside one of the champion, each slow or not."""
    return lambda rng, shape: (rng.random(shape) < mine).astype(float) - (rng.random(shape) < theirs)


def when_rolled_back(canary: Canary, worlds: dict[str, Draw], runs: int, requests: int, seed: int) -> Array:
    """For each canary the request after which it is rolled back; infinity where it is not."""
    rng, out = np.random.default_rng(seed), []
    test = CanaryTest(canary, STEADY)
    for part in np.array_split(np.arange(runs), max(runs // 100, 1)):
        first = np.full(len(part), np.inf)
        for name, draw in worlds.items():
            one = test.tests[name]
            grid = bets(one.mean, one.low)
            path = mixture(wealth(draw(rng, (len(part), requests)), one.mean, grid, np.zeros(len(grid))))
            over = path >= np.log(test.threshold)
            first = np.minimum(first, np.where(over.any(axis=1), over.argmax(axis=1) + 1, np.inf))
        out.append(first)
    return np.concatenate(out)


def test_of_2000_canaries_without_a_difference_no_more_are_rolled_back_than_allowed(
    record_property: Callable[[str, object], None],
) -> None:
    """Everything watched, after every request, each on the very edge of what counts as no worse."""
    alpha = 0.05
    canary = Canary(false_alarm=alpha, tolerance=TOLERANCE)
    edge = {
        "errors": failures(CanaryTest(canary, STEADY).tests["errors"].mean),
        "latency": slower(0.03, 0.01),
        "log_loss": losses(0.0, TOLERANCE),
    }
    found = when_rolled_back(canary, edge, RUNS, REQUESTS, seed=5)
    wrong = float(np.isfinite(found).mean())
    record_property("false rollbacks", wrong)
    assert wrong <= alpha


@pytest.mark.parametrize(
    ("what", "draw", "power", "median"),
    [
        ("errors", failures(0.02), 0.95, 250),
        ("errors", failures(0.5), 1.0, 10),
        ("latency", slower(0.2, 0.01), 0.99, 150),
        ("log_loss", losses(1.0, 0.0), 0.95, 1000),
        ("log_loss", losses(2.0, 0.0), 0.99, 250),
    ],
)
def test_a_real_difference_is_found(
    what: str, draw: Draw, power: float, median: float, record_property: Callable[[str, object], None]
) -> None:
    canary = Canary(false_alarm=0.01, tolerance=TOLERANCE)
    found = when_rolled_back(canary, {what: draw}, 200, 2_000, seed=6)
    record_property("power", float(np.isfinite(found).mean()))
    record_property("median requests", float(np.median(found)))
    assert np.isfinite(found).mean() >= power
    assert np.median(found) <= median


def test_little_traffic_decides_late_and_not_wrongly() -> None:
    """The same worse candidate: with a tenth of the requests it is not yet called worse, and never a sound one."""
    canary = Canary(false_alarm=0.01, tolerance=TOLERANCE)
    few = when_rolled_back(canary, {"log_loss": losses(1.0, 0.0)}, 400, REQUESTS // 10, seed=7)
    sound = when_rolled_back(canary, {"log_loss": losses(0.0, 0.0)}, 400, REQUESTS // 10, seed=7)
    assert np.isfinite(few).mean() < 0.5
    assert np.isfinite(sound).mean() <= 0.01


def test_looking_once_is_no_different_from_looking_always() -> None:
    """The arrays of this simulation are the test that decides."""
    rng, canary = np.random.default_rng(8), Canary(watch=["errors"])
    test = CanaryTest(canary, STEADY)
    failed = failures(0.05)(rng, (1, 400))[0]
    grid = bets(test.tests["errors"].mean, 0.0)
    path = mixture(wealth(failed, test.tests["errors"].mean, grid, np.zeros(len(grid))))
    expected = int((path >= np.log(test.threshold)).argmax()) + 1
    for seen, one in enumerate(failed, start=1):
        test.observe(failed=[bool(one)])
        if test.tests["errors"].peak >= test.threshold:
            assert seen == expected
            return
    raise AssertionError("a failing candidate was never called worse")
