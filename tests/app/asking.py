"""Models trained, requests answered and judged in this process as the servers do it."""

from __future__ import annotations

from typing import Any

import polars as pl

from homeostat.app.container import Container
from homeostat.app.datasets import append_log
from homeostat.app.quality import quality_windows
from homeostat.app.serving import load_version
from homeostat.app.traffic import Traffic
from homeostat.app.training import execute, submit
from homeostat.domain.declarations import Model
from homeostat.domain.records import Deployment, ModelVersion, Window
from homeostat.engine.serving.log import PredictionLog
from homeostat.engine.serving.predictions import Prediction, decide, shadow
from homeostat.engine.serving.requests import RequestReader
from homeostat.engine.serving.routing import LiveArm, Routes


def ask(container: Container, name: str, requests: pl.DataFrame) -> list[Prediction]:
    """Answer requests with the arms of a deployment, other arms shadowed by the champion, and log them."""
    deployment = container.store.get(Deployment, name)
    assert deployment is not None
    loaded = {arm.version: load_version(container, name, arm.version) for arm in deployment.arms}
    arms = [LiveArm(arm.version, arm.role, arm.weight, loaded[arm.version].scorer) for arm in deployment.arms]
    first = loaded[arms[0].version]
    routes, reader = Routes(name, arms), RequestReader(first.columns)
    now = container.clock.now()
    items = []
    for row in requests.iter_rows(named=True):
        request: Any = reader.convert(row)
        key = "|".join(str(row[part]) for part in first.key)
        at = row[first.time] if first.time else now
        items.append(Prediction(f"{name}-{key}", request, key, now, at, routes))
    decide(items)
    shadow([item for item in items if item.shadowed])
    log = PredictionLog(lambda deployment, rows: append_log(container, f"{deployment}.predictions", rows))
    for item in items:
        log.append(name, item)
    assert log.flush() == len(items)
    return items


def trained(container: Container, name: str, **params: Any) -> ModelVersion:
    """Train a model and judge it."""
    made = execute(container, submit(container, name, reason="asked for", params=params).id)
    assert made is not None
    return made


def quality_now(container: Container, declared: Model) -> dict[str, Window]:
    """The windows of quality on all that was asked, by what they watch."""
    log = Traffic(container, declared.name)
    found = quality_windows(container, declared, log, container.clock.now())
    return {one.monitor: one for one in found}
