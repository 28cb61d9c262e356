"""What a store holds of tracked work, as values that can be compared between stores."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from homeostat.app.artifacts import content
from homeostat.app.container import Container
from homeostat.app.tracking import history
from homeostat.domain import tracking
from homeostat.domain.records import Alias, ModelVersion, Record, Run
from homeostat.domain.tracking import ArtifactFile, Metric

AT = datetime(2000, 1, 1, tzinfo=UTC)
KINDS: tuple[type[Record], ...] = (
    Run,
    ModelVersion,
    tracking.Experiment,
    tracking.ExperimentTag,
    tracking.Param,
    tracking.RunTag,
    tracking.Metric,
    tracking.RunInput,
    tracking.RunModel,
    tracking.RegisteredModel,
    tracking.ModelTag,
    tracking.LoggedModel,
    tracking.LoggedModelTag,
    tracking.LoggedModelParam,
    tracking.LoggedModelMetric,
)


def snapshot(container: Container) -> dict[str, Any]:
    """Every record, every point and every byte; not the times of what Homeostat did itself."""
    store = container.store
    held: dict[str, Any] = {kind.__name__: store.find(kind) for kind in KINDS}
    # Each store makes experiment 0 itself, and those of sources that know no times.
    held["Experiment"] = [
        msgspec.structs.replace(found, created_at=AT, updated_at=AT) for found in held["Experiment"]
    ]
    held["points"] = {
        (metric.run, metric.key): shown(container, metric.run, metric.key) for metric in store.find(Metric)
    }
    held["files"] = {
        (file.root, file.path): b"".join(content(container, file)) for file in store.find(ArtifactFile)
    }
    held["aliases"] = {(alias.model, alias.alias): alias.version for alias in store.find(Alias)}
    return held


def shown(container: Container, run: str, key: str) -> list[tuple[Any, ...]]:
    """The history of a metric; NaN as a text, so that it equals itself."""
    found = history(container, run, key)
    rows = zip(found.timestamp.tolist(), found.step.tolist(), found.value.tolist(), strict=True)
    return [(at, step, value if value == value else "NaN") for at, step, value in rows]
