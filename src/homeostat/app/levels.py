"""Levels over a window of time against what was promised, and alerts about windows that break their bound."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

import msgspec
import polars as pl

from homeostat.app.alerts import is_open, open_alert, resolve_alert
from homeostat.app.container import Container
from homeostat.app.traffic import Traffic, of_those_asked
from homeostat.domain.declarations import Model
from homeostat.domain.durations import parse_duration
from homeostat.domain.records import Window
from homeostat.engine.control.rules import LEAST_ROWS
from homeostat.engine.features.times import instant
from homeostat.engine.monitoring.service import service
from homeostat.ports.meta import Transaction

SPAN: Final = timedelta(days=1)


def service_windows(model: Model, log: Traffic, now: datetime) -> list[Window]:
    """Availability and latency over the last day."""
    assert model.slo is not None
    asked = log.asked(pl.col("at") > instant(now - SPAN), columns=["status", "latency_us", "error"])
    found = service(asked.rows)
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
    return asked.told(out)


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


class Said(NamedTuple):
    """What an alert says about a window that breaks its bound."""

    summary: str
    action: str
    detail: dict[str, Any]


def settle(
    tx: Transaction,
    container: Container,
    window: Window,
    key: str,
    said: Callable[[Window], Said],
    severity: Literal["ticket", "page"] = "ticket",
) -> None:
    """Open the alert about a window that breaks its bound, or resolve it by one that holds it."""
    if window.breached:
        told = said(window)
        open_alert(
            tx,
            container,
            key=key,
            subject=f"deployment/{window.deployment}",
            severity=severity,
            summary=told.summary,
            action=told.action,
            detail=told.detail,
        )
    elif window.value is not None and window.rows >= LEAST_ROWS:  # too little to judge by is no recovery
        resolve_alert(tx, container, key)


def settle_level(tx: Transaction, container: Container, model: Model, window: Window) -> None:
    """Page for quality that surely does not hold, open a ticket where that may be chance, or resolve both.

    What has alerts on its budget (``slos``) has no other.
    """
    if window.monitor in ("availability", "p99", "fairness"):
        return

    def said(window: Window) -> Said:
        return _said(model, window)

    page = f"slo:{model.name}:{window.monitor}"
    ticket = f"{page}:ticket"
    if not window.breached:
        for key in (page, ticket):
            settle(tx, container, window, key, said)
    elif confirmed(window):
        settle(tx, container, window, page, said, "page")
        resolve_alert(tx, container, ticket)  # the page stands for it
    elif not is_open(tx, page):
        settle(tx, container, window, ticket, said)


def confirmed(window: Window) -> bool:
    """Whether the whole 95% interval of a breached window's value is past what was promised."""
    interval = window.detail["intervals"].get(window.monitor)
    if interval is None or window.value is None or window.threshold is None:
        return False
    if window.value > window.threshold:
        return bool(interval["low"] > window.threshold)
    return bool(interval["high"] < window.threshold)


def _said(model: Model, window: Window) -> Said:
    interval = window.detail["intervals"].get(window.monitor)
    within = f" ({interval['low']:.4g} to {interval['high']:.4g})" if interval is not None else ""
    sample = of_those_asked(window.detail.get("one_in", 1))
    chance = "" if confirmed(window) else ", which may be chance"
    return Said(
        summary=(
            f"{window.monitor} is {window.value:.4g}{within} on {window.rows:,} requests{sample} "
            f"since {window.start:%Y-%m-%d %H:%M}; {window.threshold:g} is promised{chance}"
        ),
        action="the retraining rules decide next; homeostat why shows each evaluation"
        if model.retrain is not None
        else f"nothing is done by itself, for it has no rules; homeostat train {model.name} trains it again",
        detail={
            "value": window.value,
            "threshold": window.threshold,
            "rows": window.rows,
            **({"interval": interval} if interval is not None else {}),
        },
    )
