"""One row of a request on its way: routed, scored, answered, logged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from homeostat.domain.errors import BadRequest, StoreUnavailable
from homeostat.engine.serving.fallbacks import AWAY, FAILED, SERVED, Kind
from homeostat.engine.serving.routing import LiveArm, Routes
from homeostat.engine.serving.scorer import Outcome, Scored, Scorer, attempt
from homeostat.engine.serving.tracing import Trace

PROBABILITIES: Final = "probabilities"
"""The output that holds the probabilities of several classes; the log keeps it beside the score."""


class Prediction:
    """A row and what became of it. ``status`` is 0 until it is decided.

    ``arm`` is the one that was to answer, ``answered`` the one that did: the champion where another failed.
    ``shadow`` is the one whose score is wanted besides, if any.
    ``trace`` wants to know when the log has it.
    ``error`` is what the routed arm raised, and is kept when the champion answered in its place.
    ``fallback`` is what answered where no arm could; ``status`` is then still that of the failure.
    """

    __slots__ = (
        "answered",
        "arm",
        "at",
        "error",
        "fallback",
        "id",
        "index",
        "key",
        "latency_us",
        "routes",
        "row",
        "score",
        "scored",
        "shadow",
        "shadow_error",
        "shadow_probabilities",
        "shadow_score",
        "status",
        "time",
        "trace",
    )

    def __init__(
        self, id: str, row: msgspec.Struct, key: str, at: datetime, time: datetime, routes: Routes
    ) -> None:
        self.id = id
        self.row = row
        self.key = key
        self.at = at
        self.time = time
        self.routes = routes
        self.arm: LiveArm = routes.pick(key or id)
        self.answered: LiveArm = self.arm
        self.shadow: LiveArm | None = routes.shadow(key or id, self.arm)
        self.score: float | None = None
        self.shadow_score: float | None = None
        self.shadow_probabilities: Any = None
        self.shadow_error: Exception | None = None
        self.scored: Scored | None = None
        self.index = 0
        self.error: Exception | None = None
        self.fallback: Kind | None = None
        self.status = 0
        self.latency_us = 0
        self.trace: Trace | None = None

    @property
    def served(self) -> bool:
        """Whether there is an answer."""
        return self.status == 200 or self.fallback is not None

    @property
    def version(self) -> int | None:
        """The version that answered; None where no version did."""
        return self.answered.version or None

    @property
    def role(self) -> str:
        """What answered: an arm by its role, or a fallback."""
        return "fallback" if self.fallback else self.answered.role

    @property
    def shadowed(self) -> bool:
        """Whether another arm's score is still wanted."""
        return self.shadow is not None and self.answered is self.arm and self.status == 200


def decide(batch: Sequence[Prediction]) -> None:
    """Score a batch: other arms first, then the champion, also where another arm failed; then the fallbacks.

    Never raises.
    """
    groups: dict[LiveArm, list[Prediction]] = {}
    for item in batch:
        groups.setdefault(item.arm, []).append(item)
    for arm in [arm for arm in groups if arm.role != "champion"]:
        for item, outcome in zip(groups[arm], _outcomes(arm, groups[arm]), strict=True):
            if isinstance(outcome, Exception):
                item.error = outcome
                item.answered = item.routes.champion
                groups.setdefault(item.answered, []).append(item)
            else:
                _settle(item, outcome)
    for arm, items in groups.items():
        if arm.role == "champion":
            for item, outcome in zip(items, _outcomes(arm, items), strict=True):
                if isinstance(outcome, Exception):
                    item.error = item.error or outcome
                    item.answered = item.arm
                    item.status = _status(outcome)
                else:
                    _settle(item, outcome)
    failed: dict[Routes, list[Prediction]] = {}
    for item in batch:
        if item.status != 200 and item.routes.fallbacks:
            failed.setdefault(item.routes, []).append(item)
    for routes, items in failed.items():
        _fall_back(routes, items)


def _fall_back(routes: Routes, items: Sequence[Prediction]) -> None:
    for kind, arm in routes.fallbacks:
        waiting = [item for item in items if item.fallback is None and item.status in SERVED[kind]]
        for item, outcome in zip(waiting, _outcomes(arm, waiting) if waiting else (), strict=True):
            if not isinstance(outcome, Exception):
                failure = item.status
                _settle(item, outcome)
                item.status, item.fallback, item.answered = failure, kind, arm


def probe(routes: Routes, scorer: Scorer, row: msgspec.Struct, time: datetime) -> Exception | None:
    """Why nobody could answer this row, neither a scorer nor a fallback; None where somebody could."""
    (outcome,) = attempt(scorer, [row], [time])
    if not isinstance(outcome, Exception):
        return None
    status = _status(outcome)
    for kind, arm in routes.fallbacks:
        if status in SERVED[kind] and not isinstance(attempt(arm.scorer, [row], [time])[0], Exception):
            return None
    return outcome


def shadow(batch: Sequence[Prediction]) -> None:
    """The score of each row's shadow, for comparison; what fails stays None, with its error. Never raises."""
    groups: dict[LiveArm, list[Prediction]] = {}
    for item in batch:
        if item.shadow is not None:
            groups.setdefault(item.shadow, []).append(item)
    for arm, items in groups.items():
        for item, outcome in zip(items, _outcomes(arm, items), strict=True):
            if isinstance(outcome, Exception):
                item.shadow_error = outcome
            else:
                scored, index = outcome
                item.shadow_score = scored.scores[index]
                if PROBABILITIES in scored.outputs:
                    item.shadow_probabilities = scored.outputs[PROBABILITIES][index]


def _outcomes(arm: LiveArm, items: Sequence[Prediction]) -> list[Outcome]:
    return attempt(arm.scorer, [item.row for item in items], [item.time for item in items])


def _settle(item: Prediction, outcome: tuple[Scored, int]) -> None:
    item.scored, item.index = outcome
    item.score = item.scored.scores[item.index]
    item.status = 200


def _status(error: Exception) -> int:
    if isinstance(error, BadRequest):
        return 422
    return AWAY if isinstance(error, StoreUnavailable) else FAILED


def message(error: Exception) -> str:
    """An error as one line for a log or an answer."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
