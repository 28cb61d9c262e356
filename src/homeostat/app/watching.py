"""Monitors: what a deployment did over a window of time, against its service levels and its training data."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import polars as pl

from homeostat.app.alerts import open_alert, resolve_alert
from homeostat.app.container import Container
from homeostat.app.deliveries import contract_alert
from homeostat.app.drifting import drifts, settle_drift
from homeostat.app.outcomes import given
from homeostat.app.reading import read
from homeostat.app.workers import sync_workers
from homeostat.domain import records
from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import Model
from homeostat.domain.declarations.rules import Drift, DriftTest
from homeostat.domain.durations import parse_duration
from homeostat.domain.records import Deployment, Window
from homeostat.engine.control.rules import LEAST_ROWS, Level, Suspicion
from homeostat.engine.monitoring.drift import FeatureDrift
from homeostat.engine.monitoring.quality import quality
from homeostat.engine.monitoring.service import service
from homeostat.engine.registry.metrics import evaluate
from homeostat.ports.meta import Transaction

_DAY = timedelta(days=1)
_QUIET = timedelta(days=1)


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
    name = f"{deployment.name}.predictions"
    if container.store.get(records.Dataset, name) is None:
        return None
    now = container.clock.now()
    slo = model.slo
    rules = model.retrain.rules if model.retrain else ()
    spans = {rule.window for rule in rules if isinstance(rule, Drift | DriftTest)}
    if model.retrain is not None:
        spans.add(model.retrain.check_every)  # a look is at all rows since the last
    longest = max([_DAY, *(parse_duration(text) for text in {*spans, *([slo.window] if slo else [])})])
    log = read(container, name).filter(pl.col("at") > now - longest).collect()
    windows: list[Window] = []
    if slo is not None:
        windows += _service(model, log, now)
        windows += _quality(container, model, log, now)
    found = drifts(container, model, log, now)
    with container.store.begin() as tx:
        for window in windows:
            tx.put(window)
            _alert(tx, container, deployment.name, window)
        for window in found.passed:
            tx.put(window)
        for window in found.windows:
            tx.put(window)
            if window.threshold is not None:
                settle_drift(tx, container, window)
    levels = {
        w.monitor: Level(value=w.value, threshold=w.threshold, rows=w.rows)
        for w in windows
        if w.threshold is not None
    }
    return Watched(levels, found.sizes, found.suspicion)


def _service(model: Model, log: pl.DataFrame, now: datetime) -> list[Window]:
    assert model.slo is not None
    found = service(log.filter(pl.col("at") > now - _DAY))
    out = []
    for monitor, value, threshold, worse in (
        ("availability", found.availability, model.slo.availability, -1.0),
        (
            "p99",
            found.latency.get("p99"),
            parse_duration(model.slo.p99).total_seconds() if model.slo.p99 else None,
            1.0,
        ),
    ):
        out.append(_window(model, monitor, (now - _DAY, now), found.requests, value, threshold, worse, found))
    return out


def _quality(container: Container, model: Model, log: pl.DataFrame, now: datetime) -> list[Window]:
    """Quality on the requests of the window whose labels have come."""
    assert model.slo is not None
    span = parse_duration(model.slo.window)
    asked = log.filter(pl.col("at") > now - span, pl.col("score").is_not_null())
    found = quality(join_labels(container, model, asked), model.task.label, evaluate)
    out = []
    for monitor, bound, worse in (("log_loss", model.slo.log_loss, 1.0), ("auc", model.slo.auc, -1.0)):
        value = found.metrics.get(monitor)
        out.append(_window(model, monitor, (now - span, now), found.labelled, value, bound, worse, found))
    return out


def _window(
    model: Model,
    monitor: str,
    span: tuple[datetime, datetime],
    rows: int,
    value: float | None,
    threshold: float | None,
    worse: float,
    found: Any,
) -> Window:
    """A judged window; ``worse`` is the sign of the direction in which the value gets worse."""
    breached = value is not None and threshold is not None and worse * (value - threshold) > 0
    return Window(
        deployment=model.name,
        monitor=monitor,
        start=span[0],
        end=span[1],
        rows=rows,
        value=value,
        threshold=threshold,
        breached=breached and rows >= LEAST_ROWS,
        detail=msgspec.to_builtins(found),
    )


def join_labels(container: Container, model: Model, log: pl.DataFrame) -> pl.DataFrame:
    """Rows of the prediction log with the label's column, null where no label has come.

    A label that came by prediction id counts, else the newest of the request's key.
    """
    task = model.task
    labels = read(container, task.source.name)
    if task.source.time and log.height:
        labels = labels.filter(pl.col(task.source.time) >= log["time"].min())
    key = pl.concat_str(pl.col(task.request.keys).cast(pl.String), separator="|").alias("key")
    answers = (
        labels.sort(SEQ, maintain_order=True)
        .select(key, pl.col(task.label).cast(pl.Int8))
        .unique("key", keep="last", maintain_order=True)
        .collect()
    )
    sent = given(container, model.name)
    found = log.join(answers, on="key", how="left")
    if not sent.height:
        return found
    by_id = found.join(sent, on="prediction_id", how="left", suffix="_sent", maintain_order="left")
    name = "label_sent" if "label" in found.columns else "label"
    return by_id.with_columns(pl.coalesce(pl.col(name).cast(pl.Int8), task.label).alias(task.label))


def _alert(tx: Transaction, container: Container, deployment: str, window: Window) -> None:
    key = f"slo:{deployment}:{window.monitor}"
    if not window.breached:
        if window.value is not None and window.rows >= LEAST_ROWS:  # too little to judge by is no recovery
            resolve_alert(tx, container, key)
        return
    assert window.value is not None
    assert window.threshold is not None
    open_alert(
        tx,
        container,
        key=key,
        subject=f"deployment/{deployment}",
        severity="page",
        summary=(
            f"{window.monitor} is {window.value:.4g} on {window.rows} requests "
            f"since {window.start:%Y-%m-%d %H:%M}; {window.threshold:g} is promised"
        ),
        action="the retraining rules decide next; homeostat why shows each evaluation",
        detail={"value": window.value, "threshold": window.threshold, "rows": window.rows},
    )


def settle_contracts(container: Container) -> None:
    """Resolve the contract alerts of datasets that have kept their contract for a day."""
    now = container.clock.now()
    for record in container.store.find(records.Dataset):
        key = contract_alert(record.name)
        if not container.store.find(records.Alert, ("key", "=", key), ("state", "=", "open"), limit=1):
            continue
        recent = container.store.count(
            records.Quarantined, ("dataset", "=", record.name), ("at", ">", now - _QUIET)
        )
        if not recent:
            with container.store.begin() as tx:
                resolve_alert(tx, container, key)


def broken_upstream(container: Container, datasets: list[str]) -> str:
    """Why nothing should be trained on these datasets now; empty when nothing speaks against it."""
    pages: list[Any] = container.store.find(
        records.Alert, ("key", "in", [contract_alert(name) for name in datasets]), ("state", "=", "open")
    )
    broken = [alert for alert in pages if alert.severity == "page"]
    return f"{broken[0].subject}: {broken[0].summary}" if broken else ""
