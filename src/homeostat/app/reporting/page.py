"""A report as one HTML file that loads nothing: what stands out first, then every feature beside its reference."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from homeostat.app.pages import render
from homeostat.app.reporting.report import Feature, Look, WindowReport
from homeostat.domain.durations import format_duration
from homeostat.domain.incidents import Moment

TEMPLATE: Final = Path(__file__).with_name("page.html.j2")
WIDTH, HEIGHT = 420, 132
_LEFT, _TOP, _BOTTOM = 4, 14, 20
_WIDE: Final = 960
_TIMES: Final = frozenset({"freshness", "p99"})
_NAMED: Final = 6  # bins whose names all stand below a chart; of more, the first and the last


def page(report: WindowReport) -> str:
    """The page."""
    return render(
        TEMPLATE,
        {"figure": figure, "percent": percent, "minute": minute, "after": after},
        report=report,
        charts={one.name: chart(one) for one in report.features},
        evidence={
            name: curve(report, looks)
            for name, looks in report.monitors.items()
            if "false a year" in name and len(looks) > 1
        },
        measured={name: shown(name, looks[-1]) for name, looks in report.monitors.items()},
        width=WIDTH,
        height=HEIGHT,
        wide=_WIDE,
    )


def chart(feature: Feature) -> dict[str, Any]:
    """Two bars a bin, training and now, in pixels; bins that neither has are left out."""
    pairs = [
        (name, before, now)
        for name, before, now in zip(feature.bins, feature.before.shares, feature.now.shares, strict=True)
        if before or now
    ]
    top = max((max(before, now) for _, before, now in pairs), default=1.0) or 1.0
    step = (WIDTH - 2 * _LEFT) / max(len(pairs), 1)
    floor = HEIGHT - _BOTTOM
    bars = [
        {
            "x": _LEFT + at * step,
            "width": step * 0.42,
            "second": _LEFT + at * step + step * 0.44,
            "before": (floor - _TOP) * before / top,
            "now": (floor - _TOP) * now / top,
            "text": f"{name}: {percent(before)} in training, {percent(now)} now",
            "name": name,
        }
        for at, (name, before, now) in enumerate(pairs)
    ]
    named = bars if len(bars) <= _NAMED else [bars[0], bars[-1]]
    return {"bars": bars, "named": named, "floor": floor, "step": step, "top": percent(top)}


def curve(report: WindowReport, looks: list[Look]) -> dict[str, Any]:
    """Evidence over time on a scale of powers of ten, with what reports drift."""
    needed = looks[-1].threshold or 1.0
    powers = [math.log10(max(look.value or 0.0, 1e-6)) for look in looks]
    high = max([math.log10(needed), *powers]) + 0.5
    low = min([-1.0, *powers]) - 0.2
    height, bottom, left, right = 180, 24, 56, 120
    span = (report.end - report.start).total_seconds()

    def x(look: Look) -> float:
        return left + (look.at - report.start).total_seconds() / span * (_WIDE - left - right)

    def y(power: float) -> float:
        return 8 + (high - power) / (high - low) * (height - 8 - bottom)

    every = max(round((high - low) / 5), 1)
    return {
        "points": " ".join(
            f"{x(look):.1f},{y(power):.1f}" for look, power in zip(looks, powers, strict=True)
        ),
        "marks": [
            {
                "x": x(look),
                "y": y(power),
                "text": f"{minute(look.at)}: {figure(look.value)}",
                "on": look.breached,
            }
            for look, power in zip(looks, powers, strict=True)
        ],
        "needed": y(math.log10(needed)),
        "needed_text": f"reports at {figure(needed)}",
        "ticks": [
            {"y": y(power), "text": f"{10.0**power:g}"}
            for power in range(math.ceil(low), math.floor(high) + 1)
            if power % every == 0
        ],
        "left": left,
        "right": _WIDE - right,
        "height": height,
        "days": [
            {
                "x": left + part / 4 * (_WIDE - left - right),
                "text": minute(report.start + part / 4 * (report.end - report.start)),
            }
            for part in range(4)
        ],
    }


def shown(monitor: str, look: Look) -> tuple[str, str]:
    """A monitor's value and bound; of those that measure time, in its units."""
    if monitor not in _TIMES:
        return figure(look.value), figure(look.threshold)
    value, bound = (
        "–" if one is None else format_duration(timedelta(seconds=float(f"{one:.3g}")))
        for one in (look.value, look.threshold)
    )
    return value, bound


def after(step: Moment) -> str:
    """How long a step of an incident came after the one before; nothing of the first."""
    if not step.seconds:
        return ""
    return f" (+{format_duration(timedelta(seconds=float(f'{step.seconds:.3g}')))})"


def figure(value: float | None) -> str:
    """Four significant digits; nothing where there is no value."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 and abs(value) < 1e9 else f"{value:.4g}"


def percent(share: float) -> str:
    """A share, with as many digits as tell it from none."""
    return f"{share:.1%}" if share >= 0.001 or not share else f"{share * 100:.1g}%"


def minute(at: Any) -> str:
    """A time, to the minute, in UTC."""
    return f"{at:%d %b %Y %H:%M}"
