"""Error budgets and how fast they burn, from counts per minute.

A burn rate is the share of bad events over a window, in units of the share that the objective allows. An alert needs
two windows: the long one shows that the budget is really being spent, the short one that it still is (multi-window,
multi-burn-rate alerts: Google, *The Site Reliability Workbook*, chapter 5, 2018).

Few requests prove little: one failure of ten is a burn rate of 100 and may be chance. So the failures of the long
window must also be more than a service that spends exactly its budget shows once in a million looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

MINUTE: Final = timedelta(minutes=1)
CHANCE: Final = 1e-6
_HOLD: Final = 5  # minutes without a rule that fires until an alert is over

Numbers = npt.NDArray[np.int64]


class BurnRule(msgspec.Struct, frozen=True):
    """Alert when the budget burns at ``factor`` times its rate or more, over both windows."""

    severity: Literal["ticket", "page"]
    factor: float
    long: timedelta
    short: timedelta


RULES: Final = (
    BurnRule("page", 14.4, timedelta(hours=1), timedelta(minutes=5)),
    BurnRule("page", 6.0, timedelta(hours=6), timedelta(minutes=30)),
    BurnRule("ticket", 1.0, timedelta(days=3), timedelta(hours=6)),
)
LONGEST: Final = max(rule.long for rule in RULES)


class Burn(msgspec.Struct, frozen=True, kw_only=True):
    """How one rule stands: both rates, what the long window counted, and whether it fires."""

    severity: Literal["ticket", "page"]
    factor: float
    hours: float
    rate: float
    short_rate: float
    total: int
    bad: int
    fires: bool


class Verdict(msgspec.Struct, frozen=True):
    """What the rules say of the minutes since the last look.

    Args:
        burns: How each rule stands now.
        fired: Severities of rules that fired in one of those minutes.
        standing: Severities of rules that fired in the last five minutes, too recently to call it over.
        since: By severity, the first bad minute of the long window of a rule that fired.
    """

    burns: list[Burn]
    fired: frozenset[str]
    standing: frozenset[str]
    since: dict[str, datetime]


@dataclass(frozen=True)
class Counts:
    """Total and bad events of each minute, the last one being ``last`` (minutes since 1970)."""

    last: int
    total: Numbers
    bad: Numbers

    @classmethod
    def of(cls, parts: Iterable[Iterable[Sequence[int]]], last: int, span: timedelta) -> Counts:
        """Counts of the ``span`` up to and with minute ``last``, from (minute, total, bad) in any parts, which add."""
        length = span // MINUTE
        total, bad = np.zeros(length, np.int64), np.zeros(length, np.int64)
        first = last - length + 1
        rows = rows_of(parts)
        minutes, seen, failed = rows[(rows[:, 0] >= first) & (rows[:, 0] <= last)].T
        np.add.at(total, minutes - first, seen)
        np.add.at(bad, minutes - first, failed)
        return cls(last, total, bad)


def rows_of(parts: Iterable[Iterable[Sequence[int]]]) -> Numbers:
    """(minute, total, bad) of all parts."""
    return np.fromiter(chain.from_iterable(chain.from_iterable(parts)), np.int64).reshape(-1, 3)


def added_up(rows: Numbers) -> Numbers:
    """(minute, total, bad) of each minute in any of the rows, in the order of time."""
    rows = rows[rows[:, 0].argsort()]
    minutes, begins = np.unique(rows[:, 0], return_index=True)
    added = np.add.reduceat(rows, begins, axis=0)
    added[:, 0] = minutes
    return added


def minute_of(at: datetime) -> int:
    """The minute of a time, counted from 1970."""
    return int(at.timestamp() // 60)


def judge(
    counts: Counts, objective: float, *, since: int, sampled: bool = True, rules: Iterable[BurnRule] = RULES
) -> Verdict:
    """Judge every minute after ``since``: a look that comes late misses nothing.

    Args:
        counts: Of at least the longest window before the first minute to judge.
        objective: The share of good events that is promised, 0 to 1.
        since: The last minute that was judged before.
        sampled: Whether events are a sample that chance moves, as requests are and minutes are not.
        rules: Which alerts there are.
    """
    budget = 1 - objective
    fresh = min(max(counts.last - since, 1), counts.total.size)
    burns: list[Burn] = []
    fired: set[str] = set()
    standing: set[str] = set()
    began: dict[str, datetime] = {}
    until = np.cumsum(counts.total), np.cumsum(counts.bad)
    judged = max(fresh, _HOLD)
    for rule in rules:
        rate, total, bad = _rates(until, rule.long, budget, judged)
        short, _, _ = _rates(until, rule.short, budget, judged)
        enough = rule.factor * (1 - 1e-9)  # 1 - 0.999 is a little more than 0.001
        fires = (rate >= enough) & (short >= enough) & (bad > 0)
        if sampled and fires.any():
            fires[fires] = _chance(bad[fires], total[fires], budget) <= CHANCE
        burns.append(
            Burn(
                severity=rule.severity,
                factor=rule.factor,
                hours=rule.long / timedelta(hours=1),
                rate=float(rate[-1]),
                short_rate=float(short[-1]),
                total=int(total[-1]),
                bad=int(bad[-1]),
                fires=bool(fires[-1]),
            )
        )
        if fires[-fresh:].any():
            fired.add(rule.severity)
            at = int(counts.total.size - fresh + fires[-fresh:].argmax())
            found = _onset(counts, at, rule.long)
            began[rule.severity] = min(began.get(rule.severity, found), found)
        if fires[-_HOLD:].any():
            standing.add(rule.severity)
    return Verdict(burns, frozenset(fired), frozenset(standing), began)


def budget_left(total: int, bad: int, objective: float) -> float | None:
    """The share of the error budget that is left, 1 to below 0 when it is overspent; None without events."""
    allowed = (1 - objective) * total
    if not total:
        return None
    return 1 - bad / allowed if allowed else float(bad == 0)


def _rates(
    until: tuple[Numbers, Numbers], span: timedelta, budget: float, judged: int
) -> tuple[npt.NDArray[np.float64], Numbers, Numbers]:
    """At each of the minutes to judge the rate, total and bad events over the span that ends with it.

    ``until`` has all and the bad ones up to each minute.
    """
    total, bad = (_trailing(sums, span // MINUTE, judged) for sums in until)
    # Nothing is allowed where everything was promised: any failure is then as bad as can be.
    return bad / np.maximum(total, 1) / max(budget, 1e-12), total, bad


def _trailing(sums: Numbers, minutes: int, judged: int) -> Numbers:
    trailing = sums[-judged:].copy()
    before = sums[: max(sums.size - minutes, 0)][-judged:]
    trailing[trailing.size - before.size :] -= before
    return trailing


def _chance(bad: Numbers, total: Numbers, budget: float) -> npt.NDArray[np.float64]:
    """The probability of so many failures, or more, of a service that spends exactly its budget (binomial tail)."""
    from scipy.special import betainc

    return np.asarray(betainc(bad, total - bad + 1, budget), np.float64)


def _onset(counts: Counts, at: int, span: timedelta) -> datetime:
    """The first minute with a failure in the window that ends at position ``at``."""
    begin = max(at + 1 - span // MINUTE, 0)
    first = begin + int((counts.bad[begin : at + 1] > 0).argmax())
    return datetime.fromtimestamp((counts.last - counts.total.size + 1 + first) * 60, UTC)
