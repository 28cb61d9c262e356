"""What answers a row that no arm could: a scorer of another kind, of which the answer then says that it did.

Each serves failures of its own kind, in the order of a deployment's fallbacks. The failure stays in the prediction log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from homeostat.domain.errors import HomeostatError
from homeostat.engine.serving.scorer import Derived, Scored

if TYPE_CHECKING:
    import polars as pl

    from homeostat.engine.serving.routing import LiveArm

Kind = Literal["features", "previous", "answer"]

FAILED: Final = 500
AWAY: Final = 503
SERVED: Final[Mapping[Kind, frozenset[int]]] = {
    "features": frozenset({AWAY}),
    "previous": frozenset({FAILED}),
    "answer": frozenset({FAILED, AWAY}),
}
"""The failures that each fallback can do something about, by the status they would be answered with."""


class Rescuer(NamedTuple):
    """One fallback of a deployment, loaded.

    Args:
        kind: What it falls back on.
        arm: What answers; of version 0, no version does.
    """

    kind: Kind
    arm: LiveArm


class Degraded(NamedTuple):
    """The last answer that was a fallback's: when, which, and why."""

    at: datetime
    kind: Kind
    why: str


class Constant:
    """Gives every row the same answer.

    Args:
        score: The one number.
        outputs: What else there is of a row, by name.
    """

    def __init__(self, score: float, outputs: Mapping[str, Any]) -> None:
        self._score, self._outputs = score, outputs

    def score(self, rows: Sequence[msgspec.Struct], times: Sequence[datetime]) -> Scored:
        """The same for each row, from no features."""
        count = len(rows)
        outputs = {name: [value] * count for name, value in self._outputs.items()}
        return Scored([self._score] * count, Derived(rows, _nothing), outputs=outputs)


class Unloaded:
    """Stands for a version that could not be loaded: it fails on every row with the reason.

    Args:
        reason: Why, with the version.
    """

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def score(self, rows: Sequence[msgspec.Struct], times: Sequence[datetime]) -> Scored:
        """Nothing.

        Raises:
            HomeostatError: always.
        """
        raise HomeostatError(f"{self._reason}, so it cannot answer")


def _nothing(rows: Sequence[msgspec.Struct]) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(height=len(rows))
