"""What serving asks of a model version, and how a batch that fails is narrowed down to the rows at fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

from homeostat.domain.contracts import Column, ColumnType
from homeostat.domain.declarations.fallback import Fallback
from homeostat.domain.errors import HomeostatError, StoreUnavailable

if TYPE_CHECKING:
    import polars as pl


class Output(msgspec.Struct, frozen=True):
    """One of the values that a model gives for a row.

    Args:
        name: What it is called, ``score`` for the number that is logged.
        type: What it is.
        width: How many there are in a row, in a list; 0: one, by itself.
        labels: What each of them stands for, where that is known: the classes of probabilities.
    """

    name: str
    type: ColumnType = "float"
    width: int = 0
    labels: tuple[str, ...] = ()


SCORE: Final = Output("score")


class Derived(NamedTuple):
    """Features that follow from the requests alone: they are put into a frame when somebody looks at them.

    Args:
        rows: The requests.
        frame: Makes the features of any requests of one scorer, one row each; the same function for all its batches.
    """

    rows: Sequence[msgspec.Struct]
    frame: Callable[[Sequence[msgspec.Struct]], pl.DataFrame]


class Spent(NamedTuple):
    """When a batch was begun, when its features were there, and when its scores; monotonic seconds."""

    began: float
    computed: float
    ended: float


@dataclass(frozen=True)
class Scored:
    """The scores of a batch and what they were computed from, one entry a row.

    Args:
        scores: The probability of the positive class; for other models the one number that stands for the answer.
        features: The features, one row a request.
        as_of: By view, when the newest row behind each request's features became visible.
        positions: By view, the seq of the newest batch behind each request's features.
        outputs: By name, what else the model gave: an array or list with an entry for each row.
        spent: Where the time went; None where nobody looked.
    """

    scores: list[float]
    features: pl.DataFrame | Derived
    as_of: dict[str, list[datetime | None]] = field(default_factory=dict)
    positions: dict[str, list[int | None]] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    spent: Spent | None = None

    @property
    def X(self) -> pl.DataFrame:
        """The features as a frame."""
        found = self.features
        return found.frame(found.rows) if isinstance(found, Derived) else found

    @cached_property
    def scoring_us(self) -> int | None:
        """How long its batch took, in microseconds."""
        return None if self.spent is None else round((self.spent.ended - self.spent.began) * 1e6)

    def output(self, name: str, index: int) -> Any:
        """The value of one output for one row."""
        return self.scores[index] if name == SCORE.name else self.outputs[name][index]


class Scorer(Protocol):
    """A loaded model version. Safe for threads: two deployments may share it."""

    def score(self, rows: Sequence[msgspec.Struct], times: Sequence[datetime]) -> Scored:
        """Features and scores of requests at ``times`` (UTC). May raise anything."""


class Parameters(NamedTuple):
    """What a model takes beside its rows.

    Args:
        types: Of which type each is, by name.
        given: The scorer that is asked with values of some.
    """

    types: Mapping[str, Any]
    given: Callable[[Mapping[str, Any]], Scorer]


@dataclass(frozen=True)
class Loaded:
    """A model version ready to serve: its scorer, what a request must hold, and a request to warm it with.

    Args:
        outputs: What it gives for a row; the first is the answer where a protocol has room for one.
        table: The name of the one tensor that holds all columns, where the model knows no names of its own.
        whole: Whether a request must hold the nullable columns too.
        parameters: What may be given beside the rows; None: nothing.
        fallbacks: What answers in its place by a declaration, by kind, but for another version.
    """

    version: int
    scorer: Scorer
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    time: str | None = None
    example: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[Output, ...] = (SCORE,)
    table: str = ""
    whole: bool = False
    parameters: Parameters | None = None
    fallbacks: Callable[[Fallback], Mapping[str, Scorer]] = lambda declared: {}


Outcome = tuple[Scored, int] | Exception
"""Where a row's score stands in which batch, or why it has none."""


def attempt(scorer: Scorer, rows: Sequence[msgspec.Struct], times: Sequence[datetime]) -> list[Outcome]:
    """Score every row that can be scored.

    A batch that fails is halved until the rows at fault stand alone: k of them in n rows cost about 2 k log2
    n more calls. A store that does not answer is no row's fault and is not asked again.
    """
    try:
        scored = scorer.score(rows, times)
        _check(scored, len(rows))
    except StoreUnavailable as error:
        return [error] * len(rows)
    except Exception as error:  # noqa: BLE001 - a model may raise anything; its rows carry the error on
        if len(rows) == 1:
            return [error]
        half = len(rows) // 2
        return attempt(scorer, rows[:half], times[:half]) + attempt(scorer, rows[half:], times[half:])
    return [(scored, index) for index in range(len(rows))]


def _check(scored: Scored, rows: int) -> None:
    if len(scored.scores) != rows:
        raise HomeostatError(f"the model gave {len(scored.scores)} scores for {rows} rows")
    if not all(map(isfinite, scored.scores)):
        wrong = next(score for score in scored.scores if not isfinite(score))
        raise HomeostatError(f"the model gave the score {wrong}")
