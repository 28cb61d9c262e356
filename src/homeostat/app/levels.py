"""Levels over a window of time against what was promised, and the alert when quality does not hold."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import polars as pl

from homeostat.app.alerts import open_alert, resolve_alert
from homeostat.app.container import Container
from homeostat.domain.declarations import Model
from homeostat.domain.durations import parse_duration
from homeostat.domain.records import Window
from homeostat.engine.control.rules import LEAST_ROWS
from homeostat.engine.monitoring.service import service
from homeostat.ports.meta import Transaction

SPAN: Final = timedelta(days=1)


def service_windows(model: Model, log: pl.DataFrame, now: datetime) -> list[Window]:
    """Availability and latency over the last day."""
    assert model.slo is not None
    found = service(log.filter(pl.col("at") > now - SPAN))
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
        out.append(judged(model, monitor, (now - SPAN, now), found.requests, value, threshold, worse, found))
    return out


def judged(
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


def settle_level(tx: Transaction, container: Container, model: Model, window: Window) -> None:
    """Page for quality that does not hold, or resolve it. What has alerts on its budget (``slos``) has no other."""
    if window.monitor in ("availability", "p99", "fairness"):
        return
    key = f"slo:{model.name}:{window.monitor}"
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
        subject=f"deployment/{model.name}",
        severity="page",
        summary=(
            f"{window.monitor} is {window.value:.4g} on {window.rows} requests "
            f"since {window.start:%Y-%m-%d %H:%M}; {window.threshold:g} is promised"
        ),
        action="the retraining rules decide next; homeostat why shows each evaluation"
        if model.retrain is not None
        else f"nothing is done by itself, for it has no rules; homeostat train {model.name} trains it again",
        detail={"value": window.value, "threshold": window.threshold, "rows": window.rows},
    )
