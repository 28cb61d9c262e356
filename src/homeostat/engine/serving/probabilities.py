"""Answers that are more than one number, in the prediction log: the probabilities of several classes, as lists.

A frame has the columns only where a row has such an answer, so other deployments know nothing of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from homeostat.engine.serving.predictions import PROBABILITIES, Prediction

if TYPE_CHECKING:
    import polars as pl


def with_probabilities(frame: pl.DataFrame, items: Sequence[Prediction]) -> pl.DataFrame:
    """Rows of the log with ``probabilities`` and ``shadow_probabilities``, as ``score`` and ``shadow_score`` stand.

    Args:
        frame: Rows of the log.
        items: The predictions behind them, in the same order.
    """
    import polars as pl

    pairs = [_pair(item) for item in items]
    columns = []
    for name, values in zip(
        (PROBABILITIES, f"shadow_{PROBABILITIES}"), zip(*pairs, strict=True), strict=True
    ):
        if any(one is not None for one in values):
            lists = [None if one is None else list(map(float, one)) for one in values]
            columns.append(pl.Series(name, lists, pl.List(pl.Float64())))
    return frame.with_columns(columns)


def _pair(item: Prediction) -> tuple[Any, Any]:
    """Of the arm that was asked, and of the other that answered in its place or was its shadow."""
    own = item.scored.outputs.get(PROBABILITIES) if item.scored is not None else None
    answered = None if own is None else own[item.index]
    if item.answered is not item.arm:
        return None, answered
    return answered, item.shadow_probabilities
