"""Monitors: what a deployment did over a window of time, against its service levels and its training data."""

from __future__ import annotations

import msgspec
import polars as pl

from homeostat.app.attributing import attribution_windows, settle_attributions
from homeostat.app.business import business_windows
from homeostat.app.container import Container
from homeostat.app.drifting import drifts, settle_drift
from homeostat.app.estimating import PREFIX
from homeostat.app.inputs import input_windows, settle_inputs
from homeostat.app.levels import SPAN, service_windows, settle_level
from homeostat.app.outcomes import log_of
from homeostat.app.quality import quality_windows
from homeostat.app.traffic import Traffic
from homeostat.app.workers import sync_workers
from homeostat.domain import records
from homeostat.domain.declarations import Model
from homeostat.domain.declarations.rules import Drift, DriftTest
from homeostat.domain.durations import parse_duration
from homeostat.domain.records import Deployment, Window
from homeostat.engine.control.rules import Level, Suspicion
from homeostat.engine.features.times import instant
from homeostat.engine.monitoring.drift import FeatureDrift


class Watched(msgspec.Struct, frozen=True):
    """What the monitors of one deployment found: levels by metric, drift by window as written, suspicion by rule."""

    levels: dict[str, Level] = {}
    drift: dict[str, list[FeatureDrift]] = {}
    suspicion: dict[str, Suspicion] = {}


def watch(container: Container, model: Model) -> Watched | None:
    """Evaluate every monitor of a model's deployment now; None while nothing serves or was asked."""
    deployment = container.store.get(Deployment, model.name)
    if deployment is None or not deployment.arms:
        return None
    sync_workers(container)
    if container.store.get(records.Dataset, log_of(deployment.name)) is None:
        return None
    now = container.clock.now()
    slo = model.slo
    rules = model.retrain.leaves if model.retrain else ()
    spans = {rule.window for rule in rules if isinstance(rule, Drift | DriftTest)}
    if model.retrain is not None:
        spans.add(model.retrain.check_every)  # a look is at all rows since the last
    longest = max([SPAN, *(parse_duration(text) for text in {*spans, *([slo.window] if slo else [])})])
    if model.retrain is not None and any(isinstance(rule, DriftTest) and rule.joint for rule in rules):
        longest += parse_duration(model.retrain.check_every)  # it learns from a window before those rows
    if model.data_quality is not None:
        longest = max(longest, model.data_quality.before + model.data_quality.span)
    if model.attributions is not None:
        longest = max(longest, parse_duration(model.attributions.window))
    longest = max([longest, *(parse_duration(one.window) for one in model.business)])
    log = Traffic(container, deployment.name, pl.col("at") > instant(now - longest))
    windows: list[Window] = []
    if slo is not None:
        windows += service_windows(model, log, now)
        windows += quality_windows(container, model, log, now)
    asked = input_windows(container, model, log, now)
    decided = attribution_windows(container, model, log, now)
    found = drifts(container, model, log, now)
    shown = business_windows(container, model, log, now)
    with container.store.begin() as tx:
        # All of them first: an alert names what stands out in any. One by one: rules may ask for the same twice.
        for window in (*windows, *asked, *decided, *shown, *found.passed, *found.windows):
            tx.put(window)
        for window in windows:
            settle_level(tx, container, model, window)
        for window in asked:
            settle_inputs(tx, container, window)
        for window in decided:
            settle_attributions(tx, container, window)
        for window in found.windows:
            if window.threshold is not None:
                settle_drift(tx, container, window)
    levels = {
        w.monitor: Level(
            value=w.value,
            threshold=w.threshold,
            rows=w.rows,
            higher=model.task.higher_is_better(w.monitor.removeprefix(PREFIX)),
        )
        for w in windows
        if w.threshold is not None
    }
    return Watched(levels, found.sizes, found.suspicion)
