"""A backtest as one HTML file that loads nothing: a line for each policy over time, and a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from homeostat.app.backtest.plan import Plan
from homeostat.app.backtest.results import Result
from homeostat.app.pages import render
from homeostat.domain.durations import format_duration
from homeostat.domain.metrics import HIGHER_IS_BETTER, METRICS

TEMPLATE: Final = Path(__file__).with_name("page.html.j2")
WIDTH, HEIGHT = 960, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 120, 12, 28
_ROW: Final = 18
_TICKS: Final = 6
_LABEL: Final = 13  # pixels of a line's name
_SHORT: Final = {
    "auc": "AUC",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "ndcg": "NDCG",
    "mrr": "MRR",
    "map": "MAP",
}
_COLOURS: Final = 6  # past these, lines are dashed


def page(plan: Plan, results: Sequence[Result]) -> str:
    """The page."""
    return render(
        TEMPLATE,
        {"digits": _digits},
        plan=plan,
        results=results,
        chart=chart(plan, results, results[0].shown[0]),
        lanes=lanes(plan, results),
        width=WIDTH,
        height=HEIGHT,
        names={name: _SHORT.get(name, name.replace("_", " ")) for name in results[0].shown},
        better=_better(results[0].shown[0]),
        span=format_duration(plan.span),
    )


def chart(plan: Plan, results: Sequence[Result], metric: str) -> dict[str, Any]:
    """The lines of a metric over time, in pixels."""
    known = [span.metrics[metric] for one in results for span in one.spans if metric in span.metrics]
    low, high = min(known, default=0.0), max(known, default=1.0)
    step = _step(high - low or abs(high) or 1.0)
    first, last = math.floor(low / step), math.floor(high / step) + 1
    bottom, top = first * step, last * step

    def y(value: float) -> float:
        return _TOP + (top - value) / (top - bottom) * (HEIGHT - _TOP - _BOTTOM)

    lines = []
    for number, one in enumerate(results):
        points = [
            (_x(plan, span.start + plan.span / 2), y(span.metrics[metric]))
            for span in one.spans
            if metric in span.metrics
        ]
        lines.append(
            {
                "name": one.policy,
                "colour": number % _COLOURS,
                "dashed": number >= _COLOURS,
                "given": one.given,
                "points": " ".join(f"{x:.1f},{at:.1f}" for x, at in points),
                "end": points[-1][1] if points else 0.0,
            }
        )
    _spread(lines)
    return {
        "lines": lines,
        "left": _LEFT,
        "right": WIDTH - _RIGHT,
        "ticks": [{"y": y(n * step), "text": f"{n * step:,.6g}"} for n in range(first, last + 1)],
        "days": [
            {"x": _x(plan, at), "text": f"{at:%d %b %Y}"}
            for at in (plan.start + (plan.end - plan.start) * part / 4 for part in range(4))
        ],
    }


def lanes(plan: Plan, results: Sequence[Result]) -> list[dict[str, Any]]:
    """When each policy trained, and what became of it: a row of marks a policy."""
    signs = {"promoted": "★", "rejected": "✗", "failed": "✗", "rolled-back": "↩"}
    return [
        {
            "name": one.policy,
            "colour": number % _COLOURS,
            "y": number * _ROW + _ROW / 2,
            "marks": [
                {
                    "x": _x(plan, made.at),
                    "sign": signs.get(made.outcome, "◐"),
                    "text": f"{made.at:%Y-%m-%d %H:%M} @{made.version} {made.outcome}: {made.reason}",
                }
                for made in one.retrained
            ],
        }
        for number, one in enumerate(results)
    ]


def _x(plan: Plan, at: datetime) -> float:
    share = (at - plan.start) / (plan.end - plan.start)
    return _LEFT + min(max(share, 0.0), 1.0) * (WIDTH - _LEFT - _RIGHT)


def _spread(lines: list[dict[str, Any]]) -> None:
    """Move the labels apart where lines end together, and up where they would end below the chart."""
    least, ordered = 0.0, sorted(lines, key=lambda one: float(one["end"]))
    for line in ordered:
        line["end"] = least = max(line["end"], least)
        least += _LABEL
    most = float(HEIGHT - _BOTTOM)
    for line in reversed(ordered):
        line["end"] = most = min(line["end"], most)
        most -= _LABEL


def _step(span: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that parts ``span`` into few."""
    power = 10.0 ** math.floor(math.log10(span / _TICKS))
    return next(power * size for size in (1, 2, 5, 10) if power * size * _TICKS >= span * (1 - 1e-9))


def _digits(value: float) -> str:
    """Four that count, and all before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}"


def _better(metric: str) -> str:
    """Which way is better, of a metric that is not the project's own."""
    if metric not in METRICS:
        return ""
    return "higher is better" if metric in HIGHER_IS_BETTER else "lower is better"
