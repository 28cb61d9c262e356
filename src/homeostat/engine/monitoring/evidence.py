"""Drift that keeps its promise: evidence that grows over many looks at many features, and pages falsely as rarely as
is declared.

Each look is at the rows since the last one. Each bet on each feature (`bets`) gives an e-value: a number that is at
most 1 on average while the world is within the floor of the training data, whatever was seen before. Evidence is the
Shiryaev-Roberts statistic of those, the sum over all times s at which a change may have begun,

    R_t = (1 + R_{t-1}) e_t = sum over s <= t of  e_s * ... * e_t,

averaged over the bets with their prior weights and over the features evenly, which needs no assumption of how features
depend on one another. With H looks a year, E = R / H, and drift is reported once E >= 1 / alpha. What holds:

* Average run length: R_t - t is a supermartingale, so that until a false report there are at least H / alpha looks on
  average (Shin, Ramdas & Rinaldo, "E-detectors", NEJSDS 2(2), 2023). This bounds the rate for ever.
* Probability: R_t + H - t is a supermartingale that begins at H and is at least R_t up to look H, so that the
  probability of any false report within H looks of a start is at most alpha (Ville's inequality).
* After a report the statistic starts again, so that the expected false reports of a year are at most
  alpha + alpha^2 + ... = alpha / (1 - alpha).

A tenth of alpha is spent on the sampling error of the training rows (`bets`), nine tenths on the looks. Two
assumptions remain: rows are independent given their season, or as dependent as the training rows were, whose blocks
tell by how much window sums vary more (`Reference.inflation`); the first is exact, the second an approximation of
large blocks.

Which features drifted, once drift is reported, is said by e-BH (Wang & Ramdas, "False discovery rate control with
e-values", JRSS B 84, 2022): of m features, the k with the largest E >= m / (k q), for the largest such k. At a time of
stopping within a year, at most the share q of them is false on average, under any dependence.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Final

import msgspec
import numpy as np

from homeostat.engine.monitoring.bets import COARSEST, FINEST, Bets, Floats, bets
from homeostat.engine.monitoring.reference import Profile, Reference, strata_of

SUSPECTS: Final = 0.1  # the share of suspected features that may be false
SPENT: Final = 0.1  # of alpha, on the sampling error of the training rows
_FADES: Final = 0.8  # of what was learned before, at each look
ABOVE: Final = (
    5.0  # nats that evidence may stand above what reports alone, so that it falls when the world returns
)


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What one monitor has seen: all that a next look needs.

    Args:
        looks: Looks at any rows.
        rows: Rows seen.
        log: The log of R by feature, one a bet; None stands for no evidence at all.
        seen: Rows a bin by feature, older looks counting less: what the bet that learns has learned.
    """

    looks: int = 0
    rows: int = 0
    log: dict[str, list[float | None]] = {}
    seen: dict[str, list[float]] = {}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the evidence says.

    Args:
        e: The evidence against "nothing drifted".
        needed: What it takes for a report, 1 / alpha.
        drifted: Whether it was reached.
        suspects: The features that e-BH names, the strongest first; empty until drift is reported.
        features: The evidence of each feature.
    """

    e: float
    needed: float
    drifted: bool
    suspects: list[str]
    features: dict[str, float]


class Monitor(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """The bets on the features of one reference, and the promise.

    Args:
        false_alarm: The probability of any false report within a year, alpha.
        looks: How often a year is looked, H.
        strata: Their names, in the order of prices.
        bets: By feature.
        floors: By feature, the standard deviations that it may move for nothing.
        refused: By feature, how many training rows it would take to watch it; it is not watched.
        chance: That the training rows are further off than is allowed for, a bet.
    """

    false_alarm: float
    looks: float
    strata: list[str]
    bets: dict[str, Bets]
    floors: dict[str, float]
    refused: dict[str, int]
    chance: float

    @property
    def needed(self) -> float:
        """The evidence that reports drift."""
        return 1 / ((1 - SPENT) * self.false_alarm)


def monitor(
    against: Reference,
    of: Collection[str],
    *,
    false_alarm: float,
    looks: float,
    floor: float | None = None,
) -> Monitor:
    """A monitor of the features ``of`` a reference.

    Args:
        against: What training saw.
        of: The features to watch; those without a training row are left out.
        false_alarm: The probability of any false report within a year.
        looks: Looks a year, at least 1.
        floor: Standard deviations that each feature may move for nothing; None: as fine as the reference allows,
            between `FINEST` and `COARSEST`.
    """
    names = [name for name in against.features if name in of and any(against.features[name].counts)]
    strata = sorted({one for name in names for one in strata_of(against, name)})
    made = {}
    for name in names:
        each = strata_of(against, name)
        none = [0] * len(against.features[name].counts)
        table = [each.get(one, none) for one in strata]
        made[name] = bets(against.features[name], table, against.inflation.get(name, 1.0))
    made = {name: one for name, one in made.items() if len(one.prior)}
    # Of all seasons together once; where there are several, of each look's own twice more.
    events = sum(len(one.prior) for one in made.values()) * (3 if len(strata) > 1 else 1)
    chance = SPENT * false_alarm / max(events, 1)
    floors, refused = {}, {}
    for name, one in made.items():
        finest = one.floor(chance)
        if finest > (COARSEST if floor is None else floor):
            refused[name] = one.needed(COARSEST if floor is None else floor, chance)
        else:
            floors[name] = max(finest, FINEST) if floor is None else floor
    kept = {name: made[name] for name in floors}
    return Monitor(
        false_alarm=false_alarm,
        looks=looks,
        strata=strata,
        bets=kept,
        floors=floors,
        refused=refused,
        chance=chance,
    )


def look(at: Monitor, before: Evidence, seen: Profile) -> Evidence:
    """The evidence after a look at new rows, none of which was looked at before; none is no look.

    Rows of a stratum that training never saw are compared with all of its rows.
    """
    if not seen.rows:
        return before
    rows = _rows(at, seen)
    # More than this tells no more, and would keep a monitor reporting long after the world has returned.
    most = math.log(at.needed * at.looks * max(len(at.bets), 1)) + ABOVE
    log: dict[str, list[float | None]] = {}
    learned = dict(before.seen)
    for name, one in at.bets.items():
        counts = seen.counts.get(name)
        so_far = _floats(before.log.get(name), len(one.prior))
        if counts is None:
            log[name] = before.log.get(name, [None] * len(one.prior))
            continue
        now = np.asarray(counts, dtype=np.float64)
        known = np.asarray(before.seen[name]) if name in before.seen else None
        e = one.log_e(now, rows, at.floors[name], at.chance, at.looks, known)
        kept = now if known is None else _FADES * known + now
        learned[name] = [round(float(value), 1) for value in kept]
        total = np.minimum(np.logaddexp(0.0, so_far) + e, most - np.log(one.prior))
        log[name] = [round(float(value), 4) for value in total]
    return Evidence(looks=before.looks + 1, rows=before.rows + seen.rows, log=log, seen=learned)


def judge(at: Monitor, evidence: Evidence) -> Verdict:
    """What the evidence says now."""
    each = {}
    for name, one in at.bets.items():
        weighed = _floats(evidence.log.get(name), len(one.prior)) + np.log(one.prior)
        each[name] = float(np.exp(np.logaddexp.reduce(weighed))) / at.looks
    e = sum(each.values()) / len(each) if each else 0.0
    drifted = e >= at.needed
    return Verdict(
        e=e,
        needed=at.needed,
        drifted=drifted,
        suspects=suspects(each) if drifted else [],
        features=dict(sorted(each.items(), key=lambda item: -item[1])),
    )


def suspects(evidence: Mapping[str, float], share: float = SUSPECTS) -> list[str]:
    """The features that e-BH names at level ``share``, the strongest first."""
    ordered = sorted(evidence, key=lambda name: -evidence[name])
    enough = [k for k, name in enumerate(ordered, 1) if evidence[name] >= len(ordered) / (k * share)]
    return ordered[: max(enough, default=0)]


def _rows(at: Monitor, seen: Profile) -> Floats:
    if not seen.strata:
        return np.array([0.0] * len(at.strata) + [float(seen.rows)])
    known = [float(seen.strata.get(one, 0)) for one in at.strata]
    return np.array([*known, seen.rows - sum(known)])


def _floats(values: list[float | None] | None, count: int) -> Floats:
    """As an array; without values, and where one is None, no evidence."""
    if values is None or len(values) != count:
        return np.full(count, -np.inf)
    return np.array([-np.inf if value is None else value for value in values])
