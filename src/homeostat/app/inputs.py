"""The quality of live data, wired: the prediction log against the reference that the champion's package holds."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Final

import msgspec
import polars as pl

from homeostat.app.container import Container
from homeostat.app.registry.pointers import champion_of
from homeostat.app.replaying import compared
from homeostat.app.serving import ModelScorer, load_version
from homeostat.domain.declarations import Model
from homeostat.domain.errors import Conflict
from homeostat.domain.records import ModelVersion
from homeostat.engine.monitoring.inputs import Inputs, Skew, age, findings, repeated
from homeostat.engine.monitoring.reference import Reference
from homeostat.engine.registry.package import REFERENCE
from homeostat.engine.serving.scorer import Loaded

SAMPLE: Final = 20


def inputs(
    container: Container, model: Model, log: pl.DataFrame, now: datetime, span: timedelta
) -> Inputs | None:
    """Data quality over the newest ``span`` of a prediction log; None without a champion.

    Args:
        container: The ports.
        model: The declaration.
        log: The log, back to twice ``span``.
        now: The world's time.
        span: How long.
    """
    alias = champion_of(container.store, model.name)
    version = container.store.get(ModelVersion, model.name, alias.version) if alias else None
    if version is None:
        return None
    against = Reference.read(msgspec.json.decode(container.blobs.get(version.manifest["files"][REFERENCE])))
    loaded = load_version(container, model.name, version.version)
    assert isinstance(loaded.scorer, ModelScorer)  # the loop trained it
    features = loaded.scorer.features
    recent = log.filter(pl.col("at") > now - span)
    own = recent.filter(pl.col("version") == version.version, pl.col("score").is_not_null())
    names = [name for name in features.names if name in own.columns]
    behind = {view.name: f"as_of__{view.name}" for view in features.stored}
    ages = {
        view: age(own.select((pl.col("time") - pl.col(column)).dt.total_microseconds() / 1e6).to_series())
        for view, column in behind.items()
        if column in own.columns
    }
    asked = [*(["time"] if model.task.request.time else []), "key", *names]
    return Inputs(
        rows=recent.height,
        before=log.filter(pl.col("at") > now - 2 * span, pl.col("at") <= now - span).height,
        repeated=repeated(own, asked),
        ages=ages,
        findings=findings(against, own.select(names)),
        skew=_skew(container, loaded, own) if features.stored else None,
    )


def _skew(container: Container, loaded: Loaded, own: pl.DataFrame) -> Skew:
    """Some predictions, spread evenly over the time, with their features computed anew."""
    rows = own.filter(pl.col("error").is_null()).gather_every(max(own.height // SAMPLE, 1)).head(SAMPLE)
    features: Counter[str] = Counter()
    differing = untold = 0
    for row in rows.iter_rows(named=True):
        try:
            found = compared(container, loaded, row).differing
        except Conflict:  # logged without its request
            untold += 1
            continue
        features.update(one.feature for one in found)
        differing += bool(found)
    return Skew(rows.height - untold, differing, dict(features.most_common()), untold)
