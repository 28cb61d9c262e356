"""The report as JSON for programs, as one HTML file for people, and as a summary for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.console import Console
from rich.table import Table
from rich.text import Text

from examples.flights.measure import NEW_YORK, Quality
from examples.flights.report import Report

TEMPLATE: Final = "report.html.j2"
_ZONE: Final = ZoneInfo(NEW_YORK)
_SIGNS: Final = {
    "promoted": ("★", "good"),
    "rejected": ("✗", "notice"),
    "rolled back": ("↩", "bad"),
    "failed": ("✗", "bad"),
}
_COLOURS: Final = {"good": "green", "bad": "red", "notice": "yellow"}
WIDTH, HEIGHT = 960, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 64, 12, 44


def write(report: Report, html: Path, json: Path) -> None:
    """Write both files."""
    for path, text in ((html, page(report)), (json, as_json(report))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def as_json(report: Report) -> str:
    """The report as JSON, indented."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"


def page(report: Report) -> str:
    """The report as one HTML file that loads nothing."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "day": day, "minute": minute, "sign": sign, "signed": signed}
    charts = [
        chart(report, "log_loss", "Log loss by week", "nats per flight; lower is better"),
        chart(report, "auc", "AUC by week", "area under the ROC curve; higher is better"),
    ]
    return environment.get_template(TEMPLATE).render(report=report, charts=charts, width=WIDTH, height=HEIGHT)


def chart(report: Report, metric: str, title: str, unit: str) -> dict[str, Any]:
    """Two lines over the weeks and a mark where something happened, in pixels."""
    weeks = list(report.loop.by_week)
    series = {
        name: [_of(scores.by_week.get(week), metric) for week in weeks]
        for name, scores in (("loop", report.loop), ("frozen", report.frozen))
    }
    known = [value for values in series.values() for value in values if value is not None]
    ticks = _ticks(min(known, default=0.0), max(known, default=1.0))
    low, high = ticks[0], ticks[-1]

    def y(value: float) -> float:
        return _TOP + (high - value) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    def x(at: datetime) -> float:
        share = (at - report.began) / (report.until - report.began)
        return _LEFT + min(max(share, 0.0), 1.0) * (WIDTH - _LEFT - _RIGHT)

    places = [x(datetime.strptime(week, "%Y-%m-%d").replace(tzinfo=_ZONE)) for week in weeks]
    lines = {
        name: _paths(
            [(at, None if value is None else y(value)) for at, value in zip(places, values, strict=True)]
        )
        for name, values in series.items()
    }
    # One label must not cover the other where both lines end together.
    ends = {
        name: next((y(v) for v in reversed(values) if v is not None), 0.0) for name, values in series.items()
    }
    if abs(ends["loop"] - ends["frozen"]) < 14:
        upper, lower = sorted(ends, key=lambda name: ends[name])
        ends[lower] = ends[upper] + 14
    marks = [
        {
            "x": x(one.began),
            "sign": sign(one.outcome),
            "tone": tone(one.outcome),
            "version": one.version,
            "outcome": one.outcome,
            "injected": bool(one.injected),
            "day": day(one.began),
        }
        for one in report.trainings
    ]
    months = sorted({week[:7] for week in weeks})
    return {
        "title": title,
        "unit": unit,
        "lines": lines,
        "ends": ends,
        "right": WIDTH - _RIGHT + 6,
        "left": _LEFT,
        "bottom": HEIGHT - _BOTTOM,
        "ticks": [{"y": y(tick), "text": f"{tick:.2f}"} for tick in ticks],
        "months": [
            {"x": x(datetime.strptime(m, "%Y-%m").replace(tzinfo=_ZONE)), "text": _month(m)}
            for m in months
            if datetime.strptime(m, "%Y-%m").replace(tzinfo=_ZONE) >= report.began
        ],
        "marks": marks,
    }


def _of(found: Quality | None, metric: str) -> float | None:
    value: float | None = getattr(found, metric, None)
    return value


def _ticks(low: float, high: float) -> list[float]:
    """Round values around both, a few."""
    span = max(high - low, 1e-3)
    step = next(size for size in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 1e9) if span / size <= 5)
    first, last = int(low / step), int(high / step) + 1
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def _paths(points: Sequence[tuple[float, float | None]]) -> list[str]:
    """Polylines, interrupted where a week has no value."""
    out: list[list[str]] = [[]]
    for at, value in points:
        if value is None:
            out.append([])
        else:
            out[-1].append(f"{at:.1f},{value:.1f}")
    return [" ".join(part) for part in out if part]


def number(value: float | None, digits: int = 4) -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None or value != value else f"{value:,.{digits}f}"


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.4f}".replace("-", "−")


def day(at: datetime | None) -> str:
    """A day in New York."""
    return "–" if at is None else f"{at.astimezone(_ZONE):%d %b %Y}"


def minute(at: datetime | None) -> str:
    """A minute in New York."""
    return "–" if at is None else f"{at.astimezone(_ZONE):%d %b %H:%M}"


def _month(text: str) -> str:
    return f"{datetime.strptime(text, '%Y-%m').replace(tzinfo=_ZONE):%b}"


def sign(outcome: str) -> str:
    """The icon of an outcome."""
    return _SIGNS.get(outcome, ("◐", "notice"))[0]


def tone(outcome: str) -> str:
    """The tone of an outcome."""
    return _SIGNS.get(outcome, ("◐", "notice"))[1]


def summary(report: Report, console: Console) -> None:
    """Print what matters."""
    console.print()
    table = Table(title="Frozen first model against the loop, the same requests", title_justify="left")
    for heading in (
        "month",
        "flights",
        "log loss frozen",
        "loop",
        "AUC frozen",
        "loop",
        "calibration frozen",
        "loop",
    ):
        table.add_column(heading, justify="left" if heading == "month" else "right")
    months: list[tuple[str, Any, Any]] = [
        (month, report.frozen.by_month[month], loop) for month, loop in report.loop.by_month.items()
    ]
    for name, frozen, loop in [*months, ("all", report.frozen, report.loop)]:
        table.add_row(
            name,
            f"{loop.rows:,}",
            *_pair(frozen, loop, "log_loss", lower=True),
            *_pair(frozen, loop, "auc", lower=False),
            *_pair(frozen, loop, "calibration_error", lower=True),
        )
    console.print(table)
    verdict = report.verdict
    console.print(
        Text(
            ("✓ " if verdict.loop_beats_frozen else "✗ ") + verdict.text,
            "green" if verdict.loop_beats_frozen else "red",
        )
    )
    for fault in report.faults:
        word = Text("✓ caught " if fault.caught else "✗ missed ", "green" if fault.caught else "red")
        detail = f"by {fault.by}, after {fault.after}" if fault.caught else "nobody noticed"
        console.print(Text.assemble(word, ("[injected] ", "magenta"), f"{fault.what}: {detail}"))
    requests, by_hand = report.requests, sum(bool(one.injected) for one in report.trainings)
    console.print(
        f"{requests['answered']:,} flights answered, {requests['failed']:,} failed; "
        f"{len(report.trainings)} trainings ({by_hand} injected), "
        f"{len(report.promotions)} champions, {len(report.rejections)} rejected, {len(report.rollbacks)} rolled back; "
        f"{report.seconds:.0f} s",
        markup=False,
    )
    chain = "holds" if report.ledger.ok else "is broken"
    console.print(f"The ledger's chain of {report.ledger.events:,} events {chain}", markup=False)


def _pair(frozen: Quality, loop: Quality, metric: str, *, lower: bool) -> tuple[str, Text]:
    a, b = _of(frozen, metric), _of(loop, metric)
    better = a is not None and b is not None and (b < a if lower else b > a)
    return number(a), Text(number(b), _COLOURS["good"] if better else "")
