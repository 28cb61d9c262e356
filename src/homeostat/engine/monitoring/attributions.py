"""What each feature adds to an answer: Shapley values of any model by sampling, and how features rank over many rows.

The value of a feature is what it changes when it joins the features before it, mean over all their orders, where
features that have not joined are those of a background row (Štrumbelj & Kononenko, "Explaining prediction models and
individual predictions with feature contributions", Knowledge and Information Systems 41, 2014). Orders are drawn at
random, each once forwards and once backwards with the same background row (Mitchell, Cooper, Frank & Holmes,
"Sampling permutations for Shapley value estimation", JMLR 23, 2022). The values of a row add up
exactly to what was answered, less the mean answer on the background rows that were drawn.

Rankings are compared by the normalised discounted cumulative gain (Järvelin & Kekäläinen, ACM TOIS 20, 2002) with
training values for gains, as Amazon SageMaker Clarify does: 1 where features matter in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

Array = npt.NDArray[np.float64]

_AT_ONCE: Final = 20_000  # rows that a model is asked with at a time
_LEAST_WALKS: Final = 2


class Attributed(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Values of features for rows.

    Args:
        values: Shape (rows, features).
        errors: The standard error of each, of the same shape; 0 where values are exact.
        base: By row, the answer that the values are added to.
        evaluations: Rows that the model was asked with.
    """

    values: Array
    errors: Array
    base: Array
    evaluations: int = 0


def sampled(
    answer: Callable[[pl.DataFrame], Array],
    X: pl.DataFrame,
    background: pl.DataFrame,
    *,
    budget: int,
    seed: int = 0,
) -> Attributed:
    """Shapley values of each row of ``X`` by random orders of its features.

    Args:
        answer: What the model gives for rows, shape ``(n,)``.
        X: The rows to explain, at least one.
        background: Rows that features which have not joined come from, at least one, of the same columns.
        budget: Rows that the model may be asked with in all; two orders a row are drawn at least.
        seed: Of the draws.
    """
    rows, width = X.height, X.width
    if not width:
        return Attributed(values=np.zeros((rows, 0)), errors=np.zeros((rows, 0)), base=answer(X))
    rng = np.random.default_rng(seed)
    walks = max(budget // (rows * (width + 1)) // 2 * 2, _LEAST_WALKS)
    both = pl.concat([background, X.cast(dict(background.schema))], how="vertical")  # type: ignore[arg-type]
    total = rows * walks
    half = np.argsort(rng.random((total // 2, width)), axis=1)
    order = np.empty((total, width), np.int64)
    order[0::2], order[1::2] = half, half[:, ::-1]
    own = np.repeat(np.arange(rows), walks) + background.height
    drawn = np.repeat(rng.integers(0, background.height, total // 2), 2)
    rank = np.argsort(order, axis=1)  # the place of each feature in each walk
    changes, base = np.empty((total, width)), np.empty(total)
    step = max(_AT_ONCE // (width + 1), 1)
    for begin in range(0, total, step):
        part = slice(begin, min(begin + step, total))
        joined = np.arange(width + 1)[None, :, None] > rank[part, None, :]  # (walks, steps, features)
        taken = np.where(joined, own[part, None, None], drawn[part, None, None]).reshape(-1, width)
        asked = pl.DataFrame([both[name].gather(taken[:, at]) for at, name in enumerate(both.columns)])
        answers = answer(asked).reshape(-1, width + 1)
        np.put_along_axis(changes[part], order[part], np.diff(answers, axis=1), axis=1)
        base[part] = answers[:, 0]
    # A walk and its reverse are no two draws: their mean is one.
    pairs = changes.reshape(rows, walks // 2, 2, width).mean(axis=2)
    draws = pairs.shape[1]
    errors = pairs.std(axis=1, ddof=1) / np.sqrt(draws) if draws > 1 else np.full((rows, width), np.nan)
    return Attributed(
        values=pairs.mean(axis=1),
        errors=errors,
        base=base.reshape(rows, walks).mean(axis=1),
        evaluations=total * (width + 1),
    )


def importance(names: list[str], values: Array) -> dict[str, float]:
    """The mean absolute value of each feature over rows, the largest first."""
    means = np.abs(values).mean(axis=0)
    return {names[at]: float(means[at]) for at in np.argsort(-means, kind="stable")}


def agreement(before: Mapping[str, float], now: Mapping[str, float]) -> float | None:
    """The NDCG of the order of features now, with what they were before as gains; None where all of them were 0."""
    ideal = _gain(sorted(before.values(), reverse=True))
    order = sorted(before, key=lambda name: -now.get(name, 0.0))
    return _gain([before[name] for name in order]) / ideal if ideal > 0 else None


def _gain(gains: list[float]) -> float:
    return float(np.sum(np.array(gains) / np.log2(np.arange(len(gains)) + 2)))
