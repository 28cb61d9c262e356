"""The report says what happened, good or bad, from what the store holds, in a file that needs nothing else."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from rich.console import Console

from examples.flights.measure import Scores, scores
from examples.flights.pages import as_json, chart, page, summary, write
from examples.flights.progress import Progress
from examples.flights.report import (
    Alert,
    Fault,
    Ledger,
    Promotion,
    Rejection,
    Report,
    Rollback,
    Training,
    alerts,
    faults,
    promotions,
    quarantined,
    rejections,
    rollbacks,
    trainings,
    verdict,
)
from examples.flights.story import Story
from homeostat.app.container import Container
from homeostat.app.deliveries import ingest
from homeostat.app.settings import Settings
from homeostat.domain import records
from homeostat.domain.events import Event

APRIL = datetime(2013, 4, 1, 4, tzinfo=UTC)
WHAT = "pressure in <inches>"


def labelled(better: float, rows: int = 6000) -> pl.DataFrame:
    """Answers over two months; the loop's are ``better`` logits nearer to the truth than the frozen model's."""
    random = np.random.default_rng(0)
    odds = random.normal(-1.5, 1, rows)
    late = (random.uniform(size=rows) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    return pl.DataFrame(
        {
            "sched_dep": [APRIL + timedelta(days=60) * (i / rows) for i in range(rows)],
            "late": late,
            "frozen": 1 / (1 + np.exp(-odds - 0.5)),
            "score": 1 / (1 + np.exp(-odds - 0.5 + better)),
        }
    )


def made(better: float = 0.5, **changes: Any) -> Report:
    rows = labelled(better)
    frozen, loop = scores(rows, "frozen"), scores(rows, "score")
    day = APRIL + timedelta(days=20)
    common = {"at": day, "reason": "gone <bad>"}
    whole = Report(
        began=APRIL,
        until=APRIL + timedelta(days=61),
        seconds=200.0,
        parts={"asking": 100.0, "delivering": 60.0},
        requests={"answered": 6100, "failed": 1, "labelled": 6000},
        frozen=frozen,
        loop=loop,
        verdict=verdict(frozen, loop, champions=2),
        trainings=[
            Training(run="r1", began=APRIL, reason="first model", rows=80_000, seconds=3.0, version=1,
                     outcome="promoted", because="the first"),
            Training(run="r2", began=day, reason="by hand", rows=90_000, seconds=None, version=2,
                     outcome="rejected", because="worse", injected=WHAT),
            Training(run="r3", began=day, reason="it broke", rows=0, seconds=None, version=None,
                     outcome="failed", because="ValueError"),
        ],
        promotions=[Promotion(version=1, **common), Promotion(version=3, **common)],
        rejections=[Rejection(version=2, gate="beats champion log_loss", rows=6000, injected=WHAT, **common)],
        rollbacks=[Rollback(version=4, began=day, requests=312, labelled=201, **common)],
        alerts=[Alert(opened=day, resolved=None, severity="page", subject="dataset/weather",
                      summary="12 of 12 rows", action="set aside", injected=WHAT)],
        faults=[
            Fault(what=WHAT, injected_at=day, caught=True, by="contract", how="12 rows", caught_at=day, after="3 rows"),
            Fault(what="unseen", injected_at=day, caught=False),
        ],
        quarantined={"weather: pressure is below 950": 12},
        trace={"prediction": "prediction/1", "features": [{"view": "v", "values": {"v__x": 1.0}}]},
        ledger=Ledger(True, 500),
    )  # fmt: skip
    return msgspec.structs.replace(whole, **changes)


class Outline(HTMLParser):
    """The tags that stay open, and every address that a page names."""

    VOID = frozenset({"meta", "line", "polyline", "br", "link", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_quality_is_measured_for_the_whole_and_for_each_month_and_week() -> None:
    rows = labelled(0.5)
    found = scores(rows, "score")
    assert list(found.by_month) == ["2013-04", "2013-05"]
    assert sum(part.rows for part in found.by_month.values()) == found.rows == rows.height
    assert next(iter(found.by_week)) == "2013-04-01"
    assert len(found.by_week) == 9
    y, p = rows["late"].to_numpy(), rows["score"].to_numpy()
    assert found.log_loss == pytest.approx(float(-np.log(np.where(y == 1, p, 1 - p)).mean()))


def test_a_month_without_answers_of_a_class_has_no_auc() -> None:
    rows = labelled(0.5).with_columns(late=pl.lit(0, pl.Int8))
    assert scores(rows, "score").auc is None
    assert "–" in page(made(loop=scores(rows, "score")))


@pytest.mark.parametrize(("better", "beats", "months"), [(0.5, True, 2), (-0.5, False, 0), (0.0, False, 0)])
def test_the_verdict_is_what_the_numbers_say(better: float, beats: bool, months: int) -> None:
    rows = labelled(better)
    found = verdict(scores(rows, "frozen"), scores(rows, "score"), champions=3)
    assert (found.loop_beats_frozen, found.months_better, found.months) == (beats, months, 2)
    assert (found.log_loss_gain > 0) is beats
    assert ("did not beat" in found.text) is not beats
    assert ("not better in 2013-04, 2013-05" in found.text) is not beats


def test_the_verdict_does_not_boast_of_a_loop_that_never_turned() -> None:
    rows = labelled(0.0)
    assert "no other version" in verdict(scores(rows, "frozen"), scores(rows, "score"), champions=1).text


def test_the_page_is_whole_escapes_what_it_shows_and_loads_nothing() -> None:
    text = page(made())
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert outline.addresses == []
    assert "url(" not in text
    assert "@import" not in text
    assert "<script" not in text
    assert "pressure in &lt;inches&gt;" in text
    assert "<inches>" not in text
    assert "prefers-color-scheme: dark" in text


def test_the_page_marks_what_was_injected_and_what_was_missed() -> None:
    text = page(made())
    assert text.count("◆ injected") >= 4
    assert "✓ caught" in text
    assert "✗ missed" in text
    assert "nobody noticed" in text


def test_every_colour_is_a_variable_that_both_themes_set() -> None:
    style = re.search(r"<style>(.*)</style>", page(made()), re.DOTALL)
    assert style is not None
    light, dark = (
        set(re.findall(r"(--\w+):", block)) for block in re.findall(r":root \{(.*?)\}", style[1], re.DOTALL)
    )
    assert light == dark
    assert set(re.findall(r"var\((--\w+)\)", style[1])) <= light


def test_the_page_says_so_when_the_loop_lost() -> None:
    assert "✗ not better" in page(made(better=-0.5))
    assert "✓ better" in page(made(better=0.5))


def test_a_replay_that_ended_early_has_a_page_too() -> None:
    empty = Scores(0, None, None, None)
    report = made(
        frozen=empty, loop=empty, faults=[], rollbacks=[], rejections=[], alerts=[], quarantined={}, trace={}
    )
    text = page(msgspec.structs.replace(report, verdict=verdict(empty, empty, champions=1)))
    assert "ended before the first of them" in text


def test_a_chart_breaks_its_line_where_a_week_has_no_value() -> None:
    report = made()
    weeks = dict(report.loop.by_week)
    gap = list(weeks)[4]
    weeks[gap] = msgspec.structs.replace(weeks[gap], log_loss=None)
    drawn = chart(
        msgspec.structs.replace(report, loop=msgspec.structs.replace(report.loop, by_week=weeks)),
        "log_loss",
        "",
        "",
    )
    assert len(drawn["lines"]["loop"]) == 2
    assert len(drawn["lines"]["frozen"]) == 1
    assert {mark["injected"] for mark in drawn["marks"]} == {True, False}
    for points in (p for lines in drawn["lines"].values() for line in lines for p in line.split()):
        x, y = map(float, points.split(","))
        assert 0 <= x <= 960
        assert 0 <= y <= 240


def test_the_json_has_every_part_under_its_name(tmp_path: Path) -> None:
    write(made(), tmp_path / "a" / "report.html", tmp_path / "b" / "report.json")
    told = msgspec.json.decode((tmp_path / "b" / "report.json").read_bytes())
    assert set(told) >= {
        "frozen", "loop", "trainings", "requests", "promotions", "rejections", "rollbacks",
        "alerts", "faults", "trace", "verdict", "seconds",
    }  # fmt: skip
    assert set(told["loop"]["by_month"]["2013-04"]) == {"log_loss", "auc", "calibration_error", "rows"}
    assert told["requests"] == {"answered": 6100, "failed": 1, "labelled": 6000}
    assert told["rollbacks"][0]["requests"] == 312
    assert msgspec.json.decode(as_json(made()), type=Report) == made()


def test_the_summary_names_faults_and_failures() -> None:
    out = StringIO()
    summary(made(better=-0.5), Console(file=out, width=140))
    text = out.getvalue()
    assert "did not beat" in text
    assert "✓ caught [injected] pressure in <inches>: by contract, after 3 rows" in text
    assert "✗ missed [injected] unseen: nobody noticed" in text
    assert "6,100 flights answered, 1 failed" in text


@pytest.fixture
def container(tmp_path: Path) -> Any:
    with Container(Settings(home=tmp_path, clock="system")) as made:
        yield made


def history(container: Container) -> datetime:
    """A first champion, a rejected candidate, a promoted and a withdrawn canary, and set-aside rows."""
    at = APRIL
    tags = {"injected": WHAT}

    def run(id: str, **more: Any) -> records.Run:
        return records.Run(
            id=id,
            kind="train",
            model="flight-delay",
            state="succeeded",
            reason=f"why {id}",
            created_at=at,
            **more,
        )

    def version(number: int, stage: Any, **more: Any) -> records.ModelVersion:
        return records.ModelVersion(
            model="flight-delay", version=number, digest="", manifest={}, run=f"r{number}", stage=stage,
            created_at=at, updated_at=at, **more,
        )  # fmt: skip

    def rollout(id: str, candidate: int, state: Any, **more: Any) -> records.Rollout:
        return records.Rollout(
            id=id, deployment="flight-delay", candidate=candidate, champion=1, state=state, share=0.1, began_at=at,
            ended_at=at, requests=300, labelled=200, reason="shown", **more,
        )  # fmt: skip

    with container.store.begin() as tx:
        tx.insert(run("r1"), run("r2", tags=tags), run("r3"), run("r4", tags={"injected": "scaled"}))
        tx.insert(
            version(1, "retired"),
            version(2, "rejected", tags=tags, stage_reason="g: worse"),
            version(3, "champion"),
            version(4, "rolled-back", tags={"injected": "scaled"}),
        )
        for gate, passed in (("g", False), ("h", True)):
            tx.insert(
                records.GateResult(
                    model="flight-delay",
                    version=2,
                    gate=gate,
                    passed=passed,
                    value=1.0,
                    threshold=0.5,
                    reason=f"{gate} says",
                    evidence={"rows": 6000},
                    at=at,
                )
            )
        tx.insert(rollout("o3", 3, "promoted"), rollout("o4", 4, "rolled-back", tags={"injected": "scaled"}))
        tx.insert(
            records.Alert(
                id="a1",
                key="contract:weather",
                subject="dataset/weather",
                severity="page",
                state="open",
                summary="broken",
                action="set aside",
                opened_at=at,
                tags={"injected": "unit"},
            )
        )
        tx.insert(
            records.Quarantined(
                id="q1",
                dataset="weather",
                column="pressure",
                reason="is below 950",
                count=3,
                rows=[],
                at=at,
                tags={"injected": "unit"},
            )
        )
        tx.insert(records.Dataset(name="weather", spec={"key": ["id"], "time": None}, created_at=at))
        for number in (1, 3):
            body = {"alias": "champion", "from": None, "to": number, "reason": "best"}
            tx.append(
                Event(kind="model.alias-moved", subject="model/flight-delay@champion", at=at, body=body)
            )
    return at


def test_what_happened_is_read_from_the_store(container: Container) -> None:
    history(container)
    told = trainings(container)
    assert [one.outcome for one in told] == ["promoted", "rejected", "promoted", "rolled back"]
    assert [one.injected for one in told] == ["", WHAT, "", "scaled"]
    assert [one.version for one in promotions(container)] == [1, 3]
    (rejected,) = rejections(container)
    assert (rejected.version, rejected.gate, rejected.reason, rejected.rows) == (2, "g", "g says", 6000)
    (withdrawn,) = rollbacks(container)
    assert (withdrawn.version, withdrawn.requests, withdrawn.labelled) == (4, 300, 200)
    assert [one.severity for one in alerts(container)] == ["page"]
    assert quarantined(container) == {"weather: pressure is below 950": 3}


def test_each_fault_is_caught_by_what_caught_it_and_what_got_through_is_said(container: Container) -> None:
    at = history(container)
    ingest(container, "weather", pl.DataFrame({"id": ["a"], "pressure": [1013.0]}))
    injected = {"unit": at, WHAT: at, "scaled": at, "quiet": at}

    def told() -> dict[str, Fault]:
        return {
            one.what: one for one in faults(container, injected, rejections(container), rollbacks(container))
        }

    found = told()
    assert found["unit"].caught
    assert found["unit"].by == "contract of weather, column pressure"
    assert "0 of them can be trained on" in found["unit"].how
    assert found[WHAT].by == "gate g"
    assert "0 requests" in found[WHAT].after
    assert found["scaled"].after == "300 requests, 200 of them labelled"
    assert not found["quiet"].caught
    ingest(container, "weather", pl.DataFrame({"id": ["b"], "pressure": [29.9]}))
    assert not told()["unit"].caught


def test_the_story_tells_each_thing_once(container: Container) -> None:
    history(container)
    story = Story(container)
    lines = story.look()
    assert story.look() == []
    words = [line.word for line in lines]
    assert words.count("training") == 4
    assert {"rejected", "canary", "champion", "rolled back", "page"} <= set(words)
    assert {line.word for line in lines if line.injected} >= {"rejected", "rolled back", "page"}
    with container.store.begin() as tx:
        open_ = tx.get(records.Alert, "a1")
        assert open_ is not None
        tx.put(msgspec.structs.replace(open_, state="resolved", resolved_at=APRIL))
    assert [line.word for line in story.look()] == ["resolved"]


def test_progress_on_a_pipe_is_a_line_a_week(container: Container) -> None:
    history(container)
    out = StringIO()
    with Progress(APRIL, APRIL + timedelta(days=30), Console(file=out, width=300)) as progress:
        for line in Story(container).look():
            progress.tell(line)
        progress.requests, progress.champion = 1200, 3
        for hour in range(24 * 15):
            progress.move(APRIL + timedelta(hours=hour))
    lines = out.getvalue().splitlines()
    assert sum("1,200 flights" in line for line in lines) == 2
    assert any("[injected]" in line for line in lines)
