"""Requests answered in this process as a model server answers them, and logged as it logs them."""

from __future__ import annotations

from typing import Any

import polars as pl

from homeostat.app.container import Container
from homeostat.app.datasets import append_log
from homeostat.app.serving import load_version
from homeostat.domain.records import Deployment
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
