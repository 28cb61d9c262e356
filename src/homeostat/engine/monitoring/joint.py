"""Drift of features together, where each by itself may look as in training: a classifier that bets.

A classifier learns to tell the live rows of earlier looks from training rows. What it says of a row, as odds o(x),
bets on the next look:

    e = prod over rows of  w(x) / (mean_s(w) (1 + allowed / mean(w))),   w = 1 - share + share * o(x)

mean_s is over training rows of the same season that no classifier learned from. While rows come as in training, the
classifier knows nothing of them that training rows do not show as well, and e is at most 1 on average, whatever it
learned: a sequential classifier two-sample test (Pandeva, Bakker, Naesseth & Forre, "E-valuating classifier two-sample
tests", 2022; Lheritier & Cazals, "A sequential non-parametric multivariate two-sample test", 2018) with training rows
for the price. Several shares are a mixture. Evidence adds over the times at which a change may have begun as in
`evidence`, whose promise holds here in the same words.

``allowed`` is the sampling error of the price: Bernstein's inequality over the training rows, which bounds the error of
each bet of a year at once, since no bet depends on the rows that price it. A look whose rows come from few seasons is
priced by the few training rows of these, and more is allowed (`_stretch`); rows of a season that training never saw bet
nothing. Where more than `COARSEST` would have to be allowed to a look at all seasons, the features are refused with the
number of training rows that it takes.

An embedding is such a group of features, a column for each of its numbers. The classifier is shown the principal
components of more than `WIDEST` numbers, as the training rows that it learns from have them: the bets stay as honest,
and a shift that those do not show is not found.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.engine.monitoring.bets import COARSEST, FINEST, Floats
from homeostat.engine.monitoring.evidence import ABOVE, SPENT, Evidence, Verdict
from homeostat.engine.monitoring.reference import Numbers, Reference, coordinates

JOINT: Final = "joint"
SAMPLE: Final = 10_000  # training rows that are kept, half of them to learn from and half to price
WIDEST: Final = 32  # numbers that a classifier is shown
LEAST: Final = 200  # rows of earlier looks; fewer teach nothing
_BINS: Final = 64  # as many as a text has values
_SHARES: Final = (0.1, 0.3, 0.8)
_MOST: Final = 4.0  # odds beyond are cut off: a payoff must be bounded
_SEASON: Final = "_season"


class Joint(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """The test of one group of features.

    Args:
        against: What training saw, with a sample of its rows.
        names: The features.
        looks: Looks a year.
        needed: The evidence that reports drift.
        allowed: Standard deviations of a payoff that its mean may be off for nothing.
        bounded: And what of its range.
        refused: How many training rows it would take; 0 where there are enough.
        inflation: How many times more window sums vary than those of independent rows do.
    """

    against: Reference
    names: list[str]
    looks: float
    needed: float
    allowed: float
    bounded: float
    refused: int
    inflation: float


def sample(X: pl.DataFrame, seasons: pl.Series | None = None) -> bytes:
    """Training rows for a later classifier, as Parquet: at most `SAMPLE`, evenly spread over their order."""
    kept = np.unique(np.linspace(0, len(X) - 1, min(SAMPLE, len(X))).round().astype(np.int64))
    rows = X if seasons is None else X.with_columns(seasons.alias(_SEASON))
    held = io.BytesIO()
    rows[kept].write_parquet(held, compression="zstd")
    return held.getvalue()


def joint(
    against: Reference, of: Sequence[str], *, false_alarm: float, looks: float, floor: float | None = None
) -> Joint:
    """The test of the features ``of`` a reference together; see `evidence.monitor` for what is promised."""
    names = [name for name in against.features if name in of]
    pricing = len(_training(against)[1]) if against.sample else 0
    inflation = max((against.inflation.get(name, 1.0) for name in names), default=1.0)
    nats = math.log(looks * len(_SHARES) / (SPENT * false_alarm))
    most = COARSEST if floor is None else floor
    finest = math.sqrt(2 * nats * inflation / max(pricing, 1))
    return Joint(
        against=against,
        names=names,
        looks=looks,
        needed=1 / ((1 - SPENT) * false_alarm),
        allowed=max(finest, FINEST) if floor is None else floor,
        bounded=nats * inflation / (3 * max(pricing, 1)),
        refused=0 if finest <= most else 2 * math.ceil(2 * nats * inflation / most**2),
        inflation=inflation,
    )


def look(
    at: Joint,
    before: Evidence,
    past: pl.DataFrame,
    new: pl.DataFrame,
    past_seasons: pl.Series | None = None,
    seasons: pl.Series | None = None,
) -> tuple[Evidence, float | None]:
    """The evidence after a look at new rows, and how well the classifier told them from training rows.

    Args:
        at: The test.
        before: What it has seen.
        past: Live rows that earlier looks saw; what the classifier learns from.
        new: Rows that no look saw; none is no look.
        past_seasons: Of ``past``, where the reference has seasons.
        seasons: Of ``new``.

    Returns:
        The evidence, and the area under the ROC curve: 0.5 where they look alike, None where nothing was learned.
    """
    if not len(new) or at.refused:
        return before, None
    looks, rows = before.looks + 1, before.rows + len(new)
    if len(past) < LEAST:
        return msgspec.structs.replace(before, looks=looks, rows=rows), None
    learning, pricing = _training(at.against)
    odds = _odds(at, learning, past, past_seasons)
    priced, seen = odds(pricing), odds(new)
    known, code = _strata(pricing, _column(pricing), len(pricing)), _strata(pricing, seasons, len(new))
    counts = np.bincount(known, minlength=int(code.max()) + 1)
    known_too = counts[code] > 0
    seen, code = seen[known_too], code[known_too]
    if not len(seen):
        return msgspec.structs.replace(before, looks=looks, rows=rows), None
    stretch, heaviest = _stretch(counts, code)
    e = []
    for share in _SHARES:
        w, live = 1 - share + share * priced, 1 - share + share * seen
        mean = w.mean()
        # A season that training saw few rows of is priced a little like all rows.
        price = (np.bincount(known, w, minlength=len(counts)) + mean) / (counts + 1)
        off = at.allowed * stretch * float(w.std()) + at.bounded * heaviest * float(np.ptp(w))
        e.append(float(np.log(live / price[code]).sum() - len(live) * math.log1p(off / mean)) / at.inflation)
    so_far = before.log.get(JOINT) or [None] * len(_SHARES)
    cap = math.log(at.needed * at.looks) + ABOVE
    log: list[float | None] = [
        round(min((0.0 if r is None else float(np.logaddexp(0.0, r))) + one, cap), 4)
        for r, one in zip(so_far, e, strict=True)
    ]
    told = Evidence(looks=looks, rows=rows, log={JOINT: log})
    return told, _area(priced, seen)


def judge(at: Joint, evidence: Evidence) -> Verdict:
    """What the evidence says now."""
    log = [one for one in evidence.log.get(JOINT, []) if one is not None]
    e = float(np.exp(log).sum()) / len(_SHARES) / at.looks if log else 0.0
    drifted = e >= at.needed
    return Verdict(
        e=e, needed=at.needed, drifted=drifted, suspects=[JOINT] if drifted else [], features={JOINT: e}
    )


def _training(against: Reference) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Training rows to learn from, and others to price."""
    rows = pl.read_parquet(io.BytesIO(against.sample))
    return rows.gather_every(2), rows.gather_every(2, 1)


def _odds(at: Joint, learning: pl.DataFrame, past: pl.DataFrame, seasons: pl.Series | None) -> Any:
    """What gives the odds of rows to be live ones; training rows count as if of the seasons of the live ones."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    rows = past.tail(SAMPLE // 2)
    weights = np.ones(len(learning))
    if seasons is not None:
        live = dict(seasons.tail(SAMPLE // 2).value_counts(name="count").iter_rows())
        own = _column(learning)
        assert own is not None
        held = dict(own.value_counts(name="count").iter_rows())
        weights = np.array([live.get(one, 0) / held[one] for one in own])
    weights *= len(rows) / max(weights.sum(), 1e-9)
    seen, texts = _view(at, learning)
    model = HistGradientBoostingClassifier(
        max_iter=40,
        max_depth=4,
        min_samples_leaf=40,
        max_bins=_BINS,
        l2_regularization=5.0,
        categorical_features=texts,
        early_stopping=False,
        random_state=0,
    )
    x = np.vstack([seen(learning), seen(rows)])
    cut = _cut(x, texts)
    y = np.repeat([0, 1], [len(learning), len(rows)])
    # Threads that wait for one another take many times as long where other processes want the cores too.
    with threadpool_limits(1):
        model.fit(cut(x), y, sample_weight=np.concatenate([weights, np.ones(len(rows))]))

    def odds(frame: pl.DataFrame) -> Floats:
        with threadpool_limits(1):
            p = model.predict_proba(cut(seen(frame)))[:, 1]
        found: Floats = np.clip(p / np.maximum(1 - p, 1e-9), 0.0, _MOST)
        return found

    return odds


def _cut(x: Floats, texts: Sequence[bool]) -> Callable[[Floats], Floats]:
    """What gives numbers their place between as many quantiles of ``x`` as the classifier has bins, texts as they are.

    The classifier would take such quantiles itself, but weighted and one by one: two thirds of the time of a look.
    """
    edges = [None if text else _edges(column) for column, text in zip(x.T, texts, strict=True)]

    def places(rows: Floats) -> Floats:
        found = [
            column if at is None else np.where(np.isnan(column), np.nan, np.searchsorted(at, column))
            for at, column in zip(edges, rows.T, strict=True)
        ]
        return np.column_stack(found)

    return places


def _edges(column: Floats) -> Floats:
    known = column[~np.isnan(column)]
    values = np.unique(known)
    if len(values) <= _BINS:
        return values[:-1]  # what equals one is below it
    found: Floats = np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1], method="inverted_cdf")
    return found


def _view(at: Joint, learning: pl.DataFrame) -> tuple[Callable[[pl.DataFrame], Floats], list[bool]]:
    """What gives rows as the classifier is shown them, and which of its columns are texts."""
    texts = np.array([not isinstance(at.against.features[name], Numbers) for name in at.names])

    def whole(rows: pl.DataFrame) -> Floats:
        return np.column_stack([coordinates(at.against.features[name], rows[name]) for name in at.names])

    if (~texts).sum() <= WIDEST:
        return whole, texts.tolist()
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    known = whole(learning)[:, ~texts]
    middle, width = np.nanmean(known, axis=0), np.nanstd(known, axis=0)

    def scaled(numbers: Floats) -> Floats:
        found: Floats = np.nan_to_num((numbers - middle) / np.where(width > 0, width, 1.0))
        return found

    with threadpool_limits(1):
        components = PCA(WIDEST, svd_solver="randomized", random_state=0).fit(scaled(known))

    def narrowed(rows: pl.DataFrame) -> Floats:
        x = whole(rows)
        with threadpool_limits(1):
            return np.column_stack([components.transform(scaled(x[:, ~texts])), x[:, texts]])

    return narrowed, [False] * WIDEST + [True] * int(texts.sum())


def _column(rows: pl.DataFrame) -> pl.Series | None:
    return rows[_SEASON] if _SEASON in rows.columns else None


def _strata(pricing: pl.DataFrame, seasons: pl.Series | None, rows: int) -> npt.NDArray[np.int64]:
    """The place of each row's season among those of the training rows; beyond them for others, 0 without any."""
    own = _column(pricing)
    if own is None or seasons is None:
        return np.zeros(rows, np.int64)
    place = {name: at for at, name in enumerate(own.unique().sort())}
    return np.array([place.get(one, len(place)) for one in seasons], np.int64)


def _stretch(counts: npt.NDArray[np.int64], code: npt.NDArray[np.int64]) -> tuple[float, float]:
    """How many times larger than if they came like training rows the error of what rows of some seasons cost is.

    With m of a look's rows in a season of which n of N training rows tell the price, the standard deviation of the
    whole price is sqrt(sum m^2 / n), where rows like training rows have M / sqrt(N), and a training row weighs at most
    max(m / n), where theirs weigh M / N.

    Returns:
        Both by how many times more, for the two terms of Bernstein's inequality.
    """
    rows = np.bincount(code, minlength=len(counts)) / len(code)
    there = rows > 0
    weights = rows[there] * counts.sum() / counts[there]
    return float(np.sqrt((rows[there] * weights).sum())), float(weights.max())


def _area(priced: Floats, seen: Floats) -> float:
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(seen, priced).statistic) / (len(seen) * len(priced))
