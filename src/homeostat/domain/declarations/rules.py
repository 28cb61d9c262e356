"""Retraining rules. Each is evaluated on schedule, and each evaluation is kept with its value and reason."""

from __future__ import annotations

import msgspec

from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import DeclarationError


class Drift(msgspec.Struct, frozen=True, tag="drift"):
    """At least ``features`` features drifted past ``threshold`` (population stability index) over ``window``.

    ``of`` names the features that are watched, or whole feature views; empty: all.
    """

    threshold: float = 0.25
    features: int = 1
    window: str = "7d"
    of: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parse_duration(self.window)

    def watches(self, feature: str) -> bool:
        """Whether the drift of ``feature`` (``view__column``) counts."""
        return not self.of or feature in self.of or feature.partition("__")[0] in self.of


class SloBurn(msgspec.Struct, frozen=True, tag="slo-burn"):
    """The service level of ``metric`` does not hold."""

    metric: str


class NewLabels(msgspec.Struct, frozen=True, tag="new-labels"):
    """``rows`` labelled rows that no training has seen."""

    rows: int


class Every(msgspec.Struct, frozen=True, tag="every"):
    """So long since the last training began."""

    period: str

    def __post_init__(self) -> None:
        parse_duration(self.period)


Rule = Drift | SloBurn | NewLabels | Every


class When(msgspec.Struct, frozen=True):
    """Any of ``rules``, but not within ``cooldown`` of the last training.

    Args:
        check_every: How often the rules are evaluated.
    """

    rules: tuple[Rule, ...]
    cooldown: str = "1d"
    check_every: str = "1d"

    def __post_init__(self) -> None:
        parse_duration(self.cooldown)
        parse_duration(self.check_every)
        for rule in self.rules:
            if not isinstance(rule, Drift | SloBurn | NewLabels | Every):
                raise DeclarationError(
                    f"{rule!r} is no retraining rule",
                    remedy="Use hs.drift(), hs.slo_burn(metric), hs.new_labels(rows) or hs.every(period)",
                )
