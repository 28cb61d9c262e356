"""Replaying one prediction: its request, its features as of then, its model by digest, its score, each beside the log.

The features are computed twice: as they were logged, and anew, point in time, from the batches that were there then.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import polars as pl

from homeostat.app.asked import plain, request_of
from homeostat.app.container import Container
from homeostat.app.outcomes import log_of
from homeostat.app.reading import find_dataset, read
from homeostat.app.serving import ModelScorer, load_version
from homeostat.domain.contracts import SEQ, attribute
from homeostat.domain.declarations import FeatureView, Windows
from homeostat.domain.errors import Conflict, NotFound
from homeostat.domain.records import Dataset, Deployment, ModelVersion
from homeostat.domain.refs import Ref
from homeostat.engine.features.featureset import FeatureSet
from homeostat.engine.serving.requests import RequestReader
from homeostat.engine.serving.scorer import Loaded

# What the last bits of a sum may differ by when rows are scored alone that were scored together.
_EXACT: Final = 1e-9


class Differing(msgspec.Struct, frozen=True):
    """A feature that is another when computed anew."""

    feature: str
    logged: Any
    recomputed: Any


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """One prediction, step by step.

    Args:
        prediction: Its reference.
        request: The request, by column.
        at: When it was answered.
        model: The version that answered, and ``digest`` of its package, whose files were checked against it.
        as_of: By feature view, when the newest row behind the features became visible.
        features: As they were logged.
        differing: Those that are others when computed anew.
        answered: The score that went out; None where none did.
        from_logged: The score of the logged features.
        from_recomputed: The score of the features computed anew.
        matches: Whether every feature and both scores are what they were.
        verdict: The same in a sentence.
    """

    prediction: str
    request: dict[str, Any]
    at: datetime
    model: str
    digest: str
    as_of: dict[str, datetime | None]
    features: dict[str, Any]
    differing: list[Differing]
    answered: float | None
    from_logged: float
    from_recomputed: float
    matches: bool
    verdict: str


def replay(container: Container, prediction_id: str) -> Replay:
    """Compute a prediction again and compare.

    Raises:
        NotFound: no prediction log holds it, or what answered it is gone.
        Unsafe: a file of its model was altered.
        Conflict: no version answered it, or it was logged without its request.
    """
    deployment, row = logged(container, prediction_id.removeprefix("prediction/"))
    version, answered = answer_of(row)
    record = container.store.get(ModelVersion, deployment.model, version)
    if record is None:
        raise NotFound(f"there is no model/{deployment.model}@{version} any more", remedy="See the ledger")
    loaded = load_version(container, deployment.model, version)
    scorer = loaded.scorer
    assert isinstance(scorer, ModelScorer)
    features = scorer.features
    found = compared(container, loaded, row)
    differing = found.differing
    from_logged, from_again = (float(scorer.package.score(X)[0]) for X in (found.logged, found.recomputed))
    matches = not differing and answered is not None and _same(from_logged, answered)
    return Replay(
        prediction=f"prediction/{row['prediction_id']}",
        request=found.request,
        at=row["at"],
        model=str(Ref("model", deployment.model).at(version)),
        digest=record.digest,
        as_of={view.name: row.get(f"as_of__{view.name}") for view in features.stored},
        features=found.logged.row(0, named=True),
        differing=differing,
        answered=answered,
        from_logged=from_logged,
        from_recomputed=from_again,
        matches=matches,
        verdict=_verdict(answered, from_logged, differing),
    )


def answer_of(row: dict[str, Any]) -> tuple[int, float | None]:
    """The version that gave the answer of a logged prediction, and its score.

    Raises:
        Conflict: it was answered with an error, or with what its deployment declares for that.
    """
    name = f"prediction/{row['prediction_id']}"
    fell = row["error"] is not None  # another answered in its place
    if fell and row["shadow_score"] is None:
        raise Conflict(f"{name} was not answered: {row['error']}", remedy="Name one that has a score")
    if fell and row["shadow_version"] is None:
        raise Conflict(
            f"{name} was answered by no version but with the fallback that its model declares: {row['error']}",
            remedy="Name one that a version answered",
        )
    return (row["shadow_version"], row["shadow_score"]) if fell else (row["version"], row["score"])


class Compared(NamedTuple):
    """A logged prediction: its request, its features as logged and anew, one row each, and which of them differ."""

    request: dict[str, Any]
    logged: pl.DataFrame
    recomputed: pl.DataFrame
    differing: list[Differing]


def compared(container: Container, loaded: Loaded, row: dict[str, Any]) -> Compared:
    """The features of a row of the log, beside the same from the batches that were there then.

    Raises:
        Conflict: it was logged without its request.
    """
    scorer = loaded.scorer
    assert isinstance(scorer, ModelScorer)
    features = scorer.features
    request = request_of(row, features.own, loaded.columns)
    reader = RequestReader(loaded.columns)
    asked = reader.convert({name: plain(value) for name, value in request.items()})
    frame = pl.DataFrame(
        {name: [getattr(asked, attribute(name))] for name in scorer.schema}, schema=scorer.schema
    )
    before = pl.DataFrame({name: [row.get(name)] for name in features.names}, schema=features.schema)
    again = _again(container, features, frame, row)
    differing = [
        Differing(name, before[name][0], again[name][0])
        for name in features.names
        if not _same(before[name][0], again[name][0])
    ]
    return Compared(request, before, again, differing)


def logged(container: Container, prediction_id: str) -> tuple[Deployment, dict[str, Any]]:
    """A prediction's deployment and its row of the log.

    Raises:
        NotFound: no log holds it.
    """
    for deployment in container.store.find(Deployment):
        if container.store.get(Dataset, log_of(deployment.name)) is not None:
            rows = read(container, log_of(deployment.name))
            found = rows.filter(pl.col("prediction_id") == prediction_id).collect()
            if found.height:
                return deployment, found.row(0, named=True)
    raise NotFound(
        f"no prediction log holds prediction/{prediction_id}",
        remedy="Predictions reach the log within a second",
    )


def _again(
    container: Container, features: FeatureSet, asked: pl.DataFrame, row: dict[str, Any]
) -> pl.DataFrame:
    """The features anew, from the batches that each view had seen when it was asked."""
    time = features.request.time
    if time:
        asked = asked.with_columns(pl.lit(row["time"], pl.Datetime("us", "UTC")).alias(time))
    parts = []
    for view in features.views:
        sources = {}
        if isinstance(view, FeatureView | Windows):
            position = row.get(f"position__{view.name}")
            find_dataset(container, view.source.name)
            rows = read(container, view.source.name)
            sources[view.source.name] = rows.filter(pl.col(SEQ) <= (-1 if position is None else position))
        parts.append(features.offline_of(view, asked, sources))
    if not features.views:
        return features.offline(asked, {})
    return pl.concat(parts, how="horizontal")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=_EXACT, atol=_EXACT, equal_nan=True))
    return bool(one == other)


def _verdict(answered: float | None, from_logged: float, differing: list[Differing]) -> str:
    if answered is None:
        return "nothing was answered, so there is nothing to match"
    if not _same(from_logged, answered):
        return (
            f"it does not match: {answered:.6g} was answered, and the logged features give {from_logged:.6g}. "
            "The model answers otherwise alone than among other rows, or is not deterministic"
        )
    if differing:
        names = ", ".join(one.feature for one in differing[:5])
        return f"the score follows from the logged features, but {names} would be computed otherwise now"
    return "it matches: request, features, model and score are what they were"
