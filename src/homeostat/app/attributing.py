"""Explanations wired: what the features of a logged prediction, or of many, add to the answer, on a budget.

Exact where the model gives that, else by sampling. Features are those of the log, and the version is the one that
answered. What features are compared with are training rows where the package keeps some (``hs.Attributions``, or drift
that looks at features together), else requests that the version was asked with.
"""

from __future__ import annotations

import io
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.app.container import Container
from homeostat.app.levels import Said, judged, settle
from homeostat.app.outcomes import log_of
from homeostat.app.registry.pointers import champion_of
from homeostat.app.replaying import answer_of, logged
from homeostat.app.serving import ModelScorer, load_version
from homeostat.app.traffic import Traffic
from homeostat.domain.declarations import Model
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.domain.records import Dataset, Window
from homeostat.domain.refs import Ref
from homeostat.engine.monitoring.attributions import agreement, importance, sampled
from homeostat.engine.monitoring.reference import Reference
from homeostat.engine.registry.attributions import ANSWER, exact
from homeostat.engine.registry.package import Package
from homeostat.engine.serving.scorer import Loaded
from homeostat.ports.meta import Transaction

BUDGET: Final = 2_000
WINDOW_BUDGET: Final = 20_000
MONITOR: Final = "attributions"
WINDOW: Final = "7d"
_ROWS: Final = 100
_BACKGROUND: Final = 200
_LARGEST: Final = 1_000_000

Array = npt.NDArray[np.float64]


class Contribution(msgspec.Struct, frozen=True):
    """What a feature adds to an answer; ``error`` is the standard error, 0 where exact, None where not known."""

    feature: str
    value: Any
    contribution: float
    error: float | None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One prediction, feature by feature: ``base`` and all contributions add up to ``explained``.

    Args:
        prediction: Its reference.
        model: The version that answered.
        at: When.
        answered: The score that went out.
        explained: What is explained, in ``unit``: the score, or what the model makes it of.
        unit: ``the answer``, ``log-odds``, or ``the sum of the trees``.
        base: What an answer is without knowing any feature.
        method: How contributions were found.
        against: What features are compared with.
        evaluations: Rows that the model was asked with for it.
        contributions: The largest first.
    """

    prediction: str
    model: str
    at: datetime
    answered: float | None
    explained: float
    unit: str
    base: float
    method: str
    against: str
    evaluations: int
    contributions: list[Contribution]


class Importance(msgspec.Struct, frozen=True, kw_only=True):
    """How much features matter over requests: the mean absolute contribution of each, the largest first.

    Args:
        model: The version that answered.
        window: Over which newest requests.
        rows: How many of them were explained, spread evenly.
        unit: Of the values.
        method: How contributions were found.
        against: What features are compared with.
        features: By name.
    """

    model: str
    window: str
    rows: int
    unit: str
    method: str
    against: str
    features: dict[str, float]


class _Found(NamedTuple):
    values: Array
    errors: Array
    base: Array
    unit: str
    method: str
    evaluations: int


def explanation(container: Container, prediction_id: str, *, budget: int = BUDGET) -> Explanation:
    """Explain a logged prediction.

    Args:
        container: The ports.
        prediction_id: Its id, or its reference.
        budget: Rows that the model may be asked with, where contributions are not exact.

    Raises:
        NotFound: no log holds it, or what answered it is gone.
        Conflict: it was not answered, or there is nothing to compare it with.
        BadRequest: the budget is none.
    """
    _check(budget)
    deployment, row = logged(container, prediction_id.removeprefix("prediction/"))
    version, answered = answer_of(row)
    if answered is None:
        raise Conflict(f"prediction/{row['prediction_id']} was not answered", remedy="Explain one that was")
    package, X = _asked(load_version(container, deployment.model, version), pl.DataFrame([row]))
    background, against = _background(container, deployment.name, version, package)
    found = _attributed(package, X, background, budget)
    contributions = [
        Contribution(name, X[name][0], float(value), None if np.isnan(error) else float(error))
        for name, value, error in zip(X.columns, found.values[0], found.errors[0], strict=True)
    ]
    return Explanation(
        prediction=f"prediction/{row['prediction_id']}",
        model=str(Ref("model", deployment.model).at(version)),
        at=row["at"],
        answered=answered,
        explained=float(found.base[0] + found.values[0].sum()),
        unit=found.unit,
        base=float(found.base[0]),
        method=found.method,
        against=against,
        evaluations=found.evaluations,
        contributions=sorted(contributions, key=lambda one: -abs(one.contribution)),
    )


def importances(
    container: Container, name: str, *, window: str = WINDOW, budget: int = WINDOW_BUDGET
) -> Importance:
    """How much the features of a model's champion matter over its newest requests.

    Raises:
        NotFound: nothing of this name serves, or nothing was asked of it in the window.
        BadRequest: the budget is none.
    """
    _check(budget)
    alias = champion_of(container.store, name)
    if alias is None or container.store.get(Dataset, log_of(name)) is None:
        raise NotFound(
            f"nothing was asked of deployment/{name} yet", remedy="homeostat status shows what serves"
        )
    since = container.clock.now() - parse_duration(window)
    own = pl.col("version") == alias.version, pl.col("score").is_not_null(), pl.col("error").is_null()
    rows = _spread(Traffic(container, name, pl.col("at") > since, *own).asked().rows, _ROWS)
    if not rows.height:
        raise NotFound(
            f"nothing was asked of model/{name}@{alias.version} in {window}", remedy="Give a longer --window"
        )
    package, X = _asked(load_version(container, name, alias.version), rows)
    background, against = _background(container, name, alias.version, package)
    found = _attributed(package, X, background, budget)
    return Importance(
        model=str(Ref("model", name).at(alias.version)),
        window=window,
        rows=X.height,
        unit=found.unit,
        method=found.method,
        against=against,
        features=importance(X.columns, found.values),
    )


def attribution_windows(container: Container, model: Model, log: Traffic, now: datetime) -> list[Window]:
    """How far what the champion decides by agrees with its training; none without ``hs.Attributions``.

    Args:
        container: The ports.
        model: The declaration.
        log: What was asked, back to where its window begins.
        now: The world's time.
    """
    declared = model.attributions
    alias = champion_of(container.store, model.name) if declared is not None else None
    if declared is None or alias is None:
        return []
    since = now - parse_duration(declared.window)
    answered = pl.col("version") == alias.version, pl.col("score").is_not_null()
    asked = log.asked(pl.col("at") > since, *answered)
    own = asked.rows
    value = None
    detail: dict[str, Any] = {"version": alias.version}
    if own.height >= declared.rows:
        package, X = _asked(load_version(container, model.name, alias.version), _spread(own, declared.rows))
        trained = _kept(package)
        if trained is not None:
            before, after = (
                importance(rows.columns, _attributed(package, rows, trained, declared.budget).values)
                for rows in (_spread(trained, declared.rows), X)
            )
            value = agreement(before, after)
            moved = sorted(before, key=lambda one: -abs(after[one] - before[one]))
            detail |= {"training": before, "live": after, "suspects": moved[:3]}
    found = judged(model, MONITOR, (since, now), own.height, value, declared.ndcg, -1.0, detail)
    return asked.told([found])


def settle_attributions(tx: Transaction, container: Container, window: Window) -> None:
    """Open a ticket for a model that decides by other features than in training, or resolve it."""
    settle(tx, container, window, f"{MONITOR}:{window.deployment}", _said)


def _said(window: Window) -> Said:
    return Said(
        summary=(
            f"version {window.detail['version']} decides by other features than in training: they agree to "
            f"{window.value:.3g}, {window.threshold:g} is declared; moved most: {', '.join(window.detail['suspects'])}"
        ),
        action="nothing was done; homeostat explain shows single predictions",
        detail={"value": window.value, "threshold": window.threshold, **window.detail},
    )


def _check(budget: int) -> None:
    if not 1 <= budget <= _LARGEST:
        raise BadRequest(
            f"the budget is {budget}", field="budget", remedy=f"Give from 1 to {_LARGEST:,} rows"
        )


def _spread(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    return rows.gather_every(max(rows.height // most, 1)).head(most)


def _asked(loaded: Loaded, rows: pl.DataFrame) -> tuple[Package, pl.DataFrame]:
    """The package, and the features of rows of the log as the model was given them."""
    scorer = loaded.scorer
    assert isinstance(scorer, ModelScorer)  # what is logged was answered by one
    schema = scorer.features.schema
    missing = [pl.lit(None).alias(name) for name in schema if name not in rows.columns]
    return scorer.package, rows.with_columns(missing).select(list(schema)).cast(dict(schema))  # type: ignore[arg-type]


def _kept(package: Package) -> pl.DataFrame | None:
    """Training rows that the package holds, spread evenly."""
    sample = Reference.read(package.reference).sample
    if not sample:
        return None
    names = [column.name for column in package.signature.features]
    return _spread(pl.read_parquet(io.BytesIO(sample)).select(names), _BACKGROUND)


def _background(
    container: Container, deployment: str, version: int, package: Package
) -> tuple[pl.DataFrame, str]:
    """What features are compared with, and what that is in words."""
    kept = _kept(package)
    if kept is not None:
        return kept, f"{kept.height} training rows"
    own = pl.col("version") == version, pl.col("score").is_not_null(), pl.col("error").is_null()
    names = [column.name for column in package.signature.features]
    log = Traffic(container, deployment, *own, columns=["prediction_id", *names])
    found = _spread(log.asked(columns=names).rows, _BACKGROUND)
    if found.height < 2:
        raise Conflict(
            f"there is nothing to compare with: version {version} answered {found.height} requests",
            remedy="Ask when it has answered more, or declare attributions=hs.Attributions() and train again",
        )
    return found, f"{found.height} requests that it was asked with"


def _attributed(package: Package, X: pl.DataFrame, background: pl.DataFrame, budget: int) -> _Found:
    """Exact values, or sampled ones within the budget; of several classes, of the likeliest one of each row."""
    answers = package.predict(X)
    places = answers.argmax(axis=1) if answers.ndim == 2 else None
    known = exact(package.estimator, X, background, places)
    if known is not None:
        same = places is None and np.allclose(known.base + known.values.sum(axis=1), answers, rtol=1e-4)
        unit = ANSWER if same else known.unit
        return _Found(known.values, np.zeros_like(known.values), known.base, unit, known.method, 0)
    values, errors, base, evaluations = (
        np.empty((X.height, X.width)),
        np.empty((X.height, X.width)),
        np.empty(X.height),
        0,
    )
    for place in [None] if places is None else np.unique(places).tolist():
        own = np.ones(X.height, bool) if places is None else places == place
        found = sampled(
            partial(_answer, package, place),
            X.filter(pl.Series(own)),
            background,
            budget=max(round(budget * own.mean()), 1),
        )
        values[own], errors[own], base[own] = found.values, found.errors, found.base
        evaluations += found.evaluations
    return _Found(values, errors, base, ANSWER, "Shapley values, sampled", evaluations)


def _answer(package: Package, place: int | None, rows: pl.DataFrame) -> Array:
    scores: Array = package.predict(rows)
    return scores if place is None else scores[:, place]
