"""Retraining rules. Each is evaluated on schedule, and each evaluation is kept with its value and reason."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import DeclarationError

SEASONS: Final = ("weekday", "hour")
_A_THOUSAND: Final = 1_000


def watched(of: Collection[str], feature: str) -> bool:
    """Whether a drift rule ``of`` some features watches one.

    Args:
        of: Features by their names, or what begins them: a feature view, a vector. Empty: all of them.
        feature: Its name, as ``view__column``, ``column__0`` or ``view__column__0``.
    """
    return not of or any(feature == one or feature.startswith(f"{one}__") for one in of)


class Drift(msgspec.Struct, frozen=True, tag="drift"):
    """At least ``features`` features drifted past ``threshold`` (population stability index) over ``window``.

    ``of`` names the features that are watched, vectors or whole feature views; empty: all.
    """

    threshold: float = 0.25
    features: int = 1
    window: str = "7d"
    of: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parse_duration(self.window)

    def watches(self, feature: str) -> bool:
        """Whether the drift of ``feature`` counts."""
        return watched(self.of, feature)


class DriftTest(msgspec.Struct, frozen=True, tag="drift-test"):
    """The features moved away from the training data, beyond ``floor``, by a test that keeps its promise.

    Args:
        false_alarm: The probability of any false report within a year, over all looks at all features.
        floor: Standard deviations that a feature may move for nothing; None: as fine as the training data allow.
        season: ``hour``, ``weekday`` or both (UTC): rows are compared with training rows of the same.
        of: The features that are watched, vectors, whole feature views, ``score`` or ``label``; empty: all but labels.
        window: The time over which effect sizes are shown.
        joint: Whether the features are compared together, by a classifier, instead of each by itself.
    """

    false_alarm: float = 0.05
    floor: float | None = None
    season: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    window: str = "7d"
    joint: bool = False

    def __post_init__(self) -> None:
        parse_duration(self.window)
        if not 0 < self.false_alarm <= 0.5:
            raise DeclarationError(
                f"hs.drift(false_alarm={self.false_alarm!r}) is no probability a year",
                remedy="Give one above 0 and up to 0.5, such as 0.05",
            )
        if self.floor is not None and not 0 < self.floor <= 1:
            raise DeclarationError(
                f"hs.drift(floor={self.floor!r}) is no effect",
                remedy="Give standard deviations above 0 and up to 1, such as 0.05",
            )
        for one in self.season:
            if one not in SEASONS:
                raise DeclarationError(
                    f"hs.drift(season={one!r}) is no season", remedy=f"Use {' or '.join(SEASONS)}, or both"
                )

    @property
    def false_pages_a_month(self) -> float:
        """How many false reports a month are expected at most: each year alpha, and as often again after each."""
        return self.false_alarm / (1 - self.false_alarm) / 12

    def watches(self, feature: str) -> bool:
        """Whether ``feature`` is watched."""
        return watched(self.of, feature)


class SloBurn(msgspec.Struct, frozen=True, tag="slo-burn"):
    """The service level of ``metric`` does not hold."""

    metric: str


class ConceptDrift(msgspec.Struct, frozen=True, tag="concept-drift"):
    """The losses of the model's answers rose, by a test that keeps its promise.

    Args:
        false_alarm: The probability of any false report within a year.
    """

    false_alarm: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.false_alarm <= 0.5:
            raise DeclarationError(
                f"hs.concept_drift(false_alarm={self.false_alarm!r}) is no probability a year",
                remedy="Give one above 0 and up to 0.5, such as 0.05",
            )


class NewLabels(msgspec.Struct, frozen=True, tag="new-labels"):
    """``rows`` labelled rows that no training has seen, or as many as make a training worth it (``growth``).

    Where the world is known to have changed, rows since then are counted. Learning curves are power laws (Hestness et
    al., "Deep learning scaling is predictable, empirically", 2017): where n rows are worse than any number of them by
    n^(-b), as many trainings as there are lose the least by being late if rows as n^((1 + b) / 2) lie between them.
    They found b from 0.07 to 0.35, and where the world moves, a model is the worse the older it is, however many rows
    there were. So it is the square root, the limit for curves that fall the slowest.
    """

    rows: int = 0
    growth: float | None = None

    def needed(self, learned: int) -> int:
        """How many rows it takes that no training has seen, where there were ``learned`` at the last."""
        if self.growth is None:
            return self.rows
        worth = self.growth * math.sqrt(_A_THOUSAND * learned)
        return max(math.ceil(round(worth, 6)), 1)

    def __post_init__(self) -> None:
        if (self.growth is None) == (self.rows == 0) or (self.growth or self.rows) <= 0:
            raise DeclarationError(
                f"hs.new_labels(rows={self.rows!r}, growth={self.growth!r}) is no number of rows",
                remedy="Give one of them, as hs.new_labels(5_000) or hs.new_labels(growth=0.5)",
            )


class Every(msgspec.Struct, frozen=True, tag="every"):
    """So long since the last training began."""

    period: str

    def __post_init__(self) -> None:
        parse_duration(self.period)


class Schedule(msgspec.Struct, frozen=True, tag="schedule"):
    """The occasions of a ``cron`` expression of five fields, in a ``timezone``."""

    cron: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        next(occasions(self.cron, self.timezone, datetime(2000, 1, 1, tzinfo=UTC)))


class ContractChange(msgspec.Struct, frozen=True, tag="contract-change"):
    """The contract of a dataset is another than at the last training; ``of`` names datasets, empty: all it reads."""

    of: tuple[str, ...] = ()


class CodeChange(msgspec.Struct, frozen=True, tag="code-change"):
    """The training function, what it calls of the project, or a feature view is another than at the last training."""


class UpstreamModel(msgspec.Struct, frozen=True, tag="upstream-model"):
    """The model of this name has another champion than when the last training began."""

    model: str


class Message(msgspec.Struct, frozen=True, tag="message"):
    """A CloudEvent of the type ``event`` came, from ``source`` where that is not empty."""

    event: str
    source: str = ""


class AllOf(msgspec.Struct, frozen=True, tag="all-of"):
    """Every one of ``rules`` fires."""

    rules: tuple[Rule, ...]


class AnyOf(msgspec.Struct, frozen=True, tag="any-of"):
    """At least one of ``rules`` fires."""

    rules: tuple[Rule, ...]


News = Schedule | ContractChange | CodeChange | UpstreamModel | Message
"""Rules that fire by what happened since the last training, once."""

Leaf = Drift | DriftTest | ConceptDrift | SloBurn | NewLabels | Every | News
Rule = Leaf | AllOf | AnyOf


class When(msgspec.Struct, frozen=True):
    """Any of ``rules``, but not within ``cooldown`` of the last training.

    Args:
        check_every: How often the rules are evaluated.
        at_most: The budget: so many trainings within such a time, as ``(4, "30d")``; None: any number.
        budget: Of money: trainings cost so much within such a time, as ``("20 EUR", "30d")``; None: any amount.
        debounce: What fires must have stood for so long, and no further message come; None: it trains at once.
    """

    rules: tuple[Rule, ...]
    cooldown: str = "1d"
    check_every: str = "1d"
    at_most: tuple[int, str] | None = None
    budget: tuple[str, str] | None = None
    debounce: str | None = None

    def __post_init__(self) -> None:
        parse_duration(self.cooldown)
        parse_duration(self.check_every)
        if self.debounce is not None:
            parse_duration(self.debounce)
        if self.budget is not None:
            parse_duration(self.budget[1])
            if self.money[0] <= 0:
                raise DeclarationError(
                    f"budget={self.budget!r} is no amount of money in a time",
                    remedy='Write budget=("20 EUR", "30d")',
                )
        if self.at_most is not None:
            parse_duration(self.at_most[1])
            if self.at_most[0] < 1:
                raise DeclarationError(
                    f"at_most={self.at_most!r} leaves no training",
                    remedy='Write at_most=(4, "30d"), or leave out the rules',
                )
        for rule in self.leaves:
            if not isinstance(rule, Leaf):
                raise DeclarationError(
                    f"{rule!r} is no retraining rule",
                    remedy="Use hs.drift(), hs.slo_burn(metric), hs.new_labels(rows), hs.every(period), "
                    "hs.schedule(cron), hs.code_change(), hs.contract_change(), hs.upstream_model(model) "
                    "or hs.message(type)",
                )

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """The rules, those that others combine in their place."""
        return tuple(leaf for rule in self.rules for leaf in _leaves(rule))

    @property
    def money(self) -> tuple[float, str]:
        """The amount of the budget and its currency; 0 where it is none."""
        amount, _, currency = (self.budget[0] if self.budget else "").partition(" ")
        try:
            return max(float(amount), 0.0), currency
        except ValueError:
            return 0.0, currency

    @property
    def looks(self) -> float:
        """How often a year the rules are evaluated, at least once."""
        return max(timedelta(days=365) / parse_duration(self.check_every), 1.0)

    @property
    def season(self) -> tuple[str, ...]:
        """The seasons that any rule compares within."""
        named = {one for rule in self.leaves if isinstance(rule, DriftTest) for one in rule.season}
        return tuple(one for one in SEASONS if one in named)


def occasions(cron: str, timezone: str, at: datetime, *, back: bool = False) -> Iterator[datetime]:
    """The occasions of a cron expression after ``at``, or, going back, before it; in UTC.

    Where clocks go forward, what falls into the hour that is not there comes at its end (Debian's cron).

    Raises:
        DeclarationError: the expression has no occasions, or there is no such time zone.
    """
    from cronsim import CronSim, CronSimError

    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise DeclarationError(
            f"{timezone!r} is no time zone", remedy="Name one as UTC or Europe/Berlin"
        ) from error
    try:
        found = CronSim(cron, at.astimezone(zone), reverse=back)
    except CronSimError as error:
        raise DeclarationError(
            f"{cron!r} is no schedule: {error}",
            remedy='Write minute, hour, day of month, month and weekday, as "0 3 * * mon"',
        ) from error
    return (one.astimezone(UTC) for one in found)


def _leaves(rule: Rule) -> Iterator[Leaf]:
    if isinstance(rule, AllOf | AnyOf):
        for one in rule.rules:
            yield from _leaves(one)
    else:
        yield rule
