"""The chart says what it shows, whatever the task and however large or small its numbers are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from homeostat.app.backtest.page import HEIGHT, chart, page
from homeostat.app.backtest.plan import Plan
from homeostat.app.backtest.policies import DECLARED, NEVER, Policy
from homeostat.app.backtest.results import Result, Span

START = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(
    project="answers",
    file="project.py",
    code="",
    history="",
    model="answer",
    start=START,
    end=START + timedelta(days=280),
    step=timedelta(days=1),
    rest=timedelta(days=1),
    policies=(DECLARED, *(Policy(name=f"never {n}", text=NEVER) for n in range(7))),
)


def result(policy: Policy, metric: str, values: list[float]) -> Result:
    spans = [Span(START + number * PLAN.span, 10, {metric: value}) for number, value in enumerate(values)]
    return Result(
        policy=policy.name,
        given=policy.given,
        requests=100,
        labelled=100,
        metrics={metric: values[-1]},
        shown=[metric],
        spans=spans,
        trainings=[],
        pages=0,
        tickets=0,
        seconds=0.0,
    )


@pytest.mark.parametrize(
    "values", [[0.31, 0.47], [12_345.0, 98_765.0], [-0.4, 0.3], [2e-6, 5e-6], [3.0, 3.0], [-2.0, -2.0], [0.0]]
)
def test_lines_lie_between_the_ends_of_an_axis_with_few_ticks(values: list[float]) -> None:
    found = chart(PLAN, [result(DECLARED, "rmse", values)], "rmse")
    heights = [tick["y"] for tick in found["ticks"]]
    points = [float(point.split(",")[1]) for point in found["lines"][0]["points"].split()]
    assert 2 <= len(heights) <= 9
    assert min(heights) - 0.1 <= min(points) <= max(points) <= max(heights) + 0.1
    assert len({tick["text"] for tick in found["ticks"]}) == len(heights)
    if values[0] != values[-1]:
        assert max(points) - min(points) > (max(heights) - min(heights)) / 3


def test_names_of_lines_that_end_together_stand_apart_and_inside() -> None:
    found = chart(PLAN, [result(one, "rmse", [2.0, 1.0]) for one in PLAN.policies], "rmse")
    ends = sorted(line["end"] for line in found["lines"])
    assert all(after - before >= 13 for before, after in pairwise(ends))
    assert 0 < ends[0] < ends[-1] < HEIGHT


def test_a_regression_is_told_as_one() -> None:
    text = page(PLAN, [result(DECLARED, "rmse", [12_345.6, 98_765.4])])
    assert "<h2>RMSE over time</h2>" in text
    assert "lower is better" in text
    assert "98,765" in text
    assert "log loss" not in text.lower()
    svg = text[text.index("<svg") : text.index("</svg>") + 6]
    assert ElementTree.fromstring(svg).get("aria-label") == "RMSE of each policy over time"
    assert "higher is better" in page(PLAN, [result(DECLARED, "ndcg", [0.1, 0.2])])
    assert "is better" not in page(PLAN, [result(DECLARED, "profit", [0.1, 0.2])])
