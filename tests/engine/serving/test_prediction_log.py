"""The log keeps what it can hold until the sink has it, and counts what it cannot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from homeostat.engine.serving.log import PredictionLog, to_frame
from homeostat.engine.serving.predictions import Prediction, decide, shadow
from homeostat.engine.serving.routing import LiveArm, Routes
from homeostat.engine.serving.scorer import Scored, Spent
from tests.engine.serving.fakes import NOON, FakeScorer, routes
from tests.engine.serving.test_predictions import items

META = [
    "prediction_id",
    "at",
    "time",
    "key",
    "version",
    "arm",
    "score",
    "shadow_version",
    "shadow_score",
    "shadow_error",
    "error",
    "status",
    "fallback",
    "latency_us",
    "scoring_us",
    "request",
]


class Sink:
    def __init__(self) -> None:
        self.frames: list[tuple[str, pl.DataFrame]] = []
        self.broken = False

    def __call__(self, deployment: str, frame: pl.DataFrame) -> None:
        if self.broken:
            raise OSError("disk full")
        self.frames.append((deployment, frame))

    @property
    def heights(self) -> list[int]:
        return [frame.height for _, frame in self.frames]


@pytest.fixture
def sink() -> Sink:
    return Sink()


def decided(chosen: Routes, *ids: str) -> list[Prediction]:
    batch = items(chosen, *ids)
    decide(batch)
    shadow([item for item in batch if item.shadowed])
    return batch


class Timed(FakeScorer):
    """Says that it took as long for a batch."""

    def __init__(self, took: float) -> None:
        super().__init__()
        self.took = took

    def score(self, rows: Sequence[Any], times: Sequence[datetime]) -> Scored:
        return replace(super().score(rows, times), spent=Spent(1.0, 1.0, 1.0 + self.took))


def test_rows_hold_what_monitoring_needs() -> None:
    plain = decided(routes(FakeScorer()), "a", "b")
    (canary,) = decided(routes(FakeScorer(), FakeScorer(0.5, feature="other__x"), 1.0), "c")
    (fallen,) = decided(routes(FakeScorer(), FakeScorer(fails=["*"]), 1.0), "d")
    (failed,) = decided(routes(FakeScorer(fails=["*"])), "e")
    frame = to_frame([canary, plain[1], fallen, failed, plain[0]])
    views = ["as_of__weather", "position__weather"]
    assert set(frame.columns) == {*META, *views, "weather__temp", "flight__distance", "other__x"}
    assert frame.columns[: len(META)] == META
    rows = frame.to_dicts()
    assert [row["key"] for row in rows] == ["c", "b", "d", "e", "a"]
    assert [row["arm"] for row in rows] == ["canary", "champion", "canary", "champion", "champion"]
    assert [row["version"] for row in rows] == [2, 1, 2, 1, 1]
    assert [row["score"] for row in rows] == [0.5, 0.0001, None, None, 0.0]
    assert [row["shadow_version"] for row in rows] == [1, None, 1, None, None]
    assert [row["shadow_score"] for row in rows] == [0.0, None, 0.0, None, None]
    assert [row["error"] for row in rows] == [
        None,
        None,
        "RuntimeError: poison",
        "RuntimeError: poison",
        None,
    ]
    assert [row["status"] for row in rows] == [200, 200, 200, 500, 200]
    assert [row["flight__distance"] for row in rows] == [None, 1.0, 0.0, None, 0.0]
    assert [row["other__x"] for row in rows] == [0.0, None, None, None, None]
    assert [row["position__weather"] for row in rows] == [7, 7, 7, None, 7]
    assert rows[1]["as_of__weather"] == NOON - timedelta(minutes=30)
    assert (
        frame.schema["at"]
        == frame.schema["time"]
        == frame.schema["as_of__weather"]
        == pl.Datetime("us", "UTC")
    )
    assert frame.schema["position__weather"] == frame.schema["version"] == pl.Int64


def test_the_time_that_each_version_took_for_its_part_of_a_batch_stands_in_its_rows() -> None:
    arms = routes(Timed(0.005), Timed(0.080), 0.5)
    rows = to_frame(decided(arms, *map(str, range(40))))
    took = rows.group_by("arm").agg(pl.col("scoring_us").unique().implode()).to_dicts()
    assert {row["arm"]: row["scoring_us"] for row in took} == {"champion": [5_000], "canary": [80_000]}


def test_a_log_of_failures_alone_has_no_features() -> None:
    assert to_frame(decided(routes(FakeScorer(fails=["*"])), "a", "b")).columns == META


def test_a_row_holds_its_whole_request_once() -> None:
    (item,) = decided(routes(FakeScorer(feature="distance")), "a")
    (row,) = to_frame([item]).to_dicts()
    asked = json.loads(row["request"])
    assert "distance" not in asked
    assert asked | {"distance": row["distance"]} == {
        name: getattr(item.row, name) if name != "departs" else "2013-07-01T12:00:00Z"
        for name in item.row.__struct_fields__
    }


def test_what_a_shadow_scored_stands_beside_what_was_answered() -> None:
    arms = [
        LiveArm(1, "champion", 1.0, FakeScorer()),
        LiveArm(3, "shadow", 1.0, FakeScorer(0.25, fails=["b"])),
    ]
    rows = to_frame(decided(Routes("flights", arms), "a", "b")).to_dicts()
    assert [(row["version"], row["arm"], row["status"]) for row in rows] == [(1, "champion", 200)] * 2
    assert [row["score"] for row in rows] == [0.0, 0.0001]
    assert [row["shadow_version"] for row in rows] == [3, 3]
    assert [row["shadow_score"] for row in rows] == [0.25, None]
    assert [row["shadow_error"] for row in rows] == [None, "RuntimeError: poison"]
    assert [row["error"] for row in rows] == [None, None]


def test_chunks_reach_the_sink_in_order(sink: Sink) -> None:
    log = PredictionLog(sink, chunk=10)
    batch = decided(routes(FakeScorer()), *map(str, range(25)))
    for item in batch[:9]:
        log.append("flights", item)
    assert not log.due
    for item in batch[9:]:
        log.append("flights", item)
    assert log.due
    assert log.flush() == 25
    assert sink.heights == [10, 10, 5]
    assert [key for _, f in sink.frames for key in f["key"]] == [str(n) for n in range(25)]
    assert log.flush() == 0
    assert (log.counts.buffered, log.counts.flushed, log.counts.dropped) == (0, 25, 0)


def test_slices_that_were_prepared_reach_the_sink_in_order_and_once(sink: Sink) -> None:
    log = PredictionLog(sink)
    batch = decided(routes(FakeScorer()), *map(str, range(1_200)))
    for item in batch:
        log.append("flights", item)
    assert [log.prepare() for _ in range(4)] == [True, True, False, False]
    assert log.counts.buffered == 1_200
    sink.broken = True
    assert log.flush() == 0
    sink.broken = False
    for item in batch[:600]:
        log.append("flights", item)
    assert log.prepare()
    assert log.flush() == 1_800
    ((_, frame),) = sink.frames
    assert frame["prediction_id"].to_list() == [item.id for item in (*batch, *batch[:600])]


def test_what_the_sink_refuses_is_kept_and_what_does_not_fit_is_counted(sink: Sink) -> None:
    log = PredictionLog(sink, capacity=20, chunk=10)
    batch = decided(routes(FakeScorer()), *map(str, range(30)))
    sink.broken = True
    for item in batch[:4]:
        log.append("flights", item)
        assert log.flush() == 0
    for item in batch[4:]:
        log.append("flights", item)
    assert log.flush() == 0
    counts = log.counts
    assert (counts.buffered, counts.flushed, counts.dropped, counts.failures) == (20, 0, 10, 5)
    assert "disk full" in counts.error
    assert not log.due
    sink.broken = False
    assert log.flush() == 20
    assert sink.heights == [4, 10, 6]
    assert [key for _, f in sink.frames for key in f["key"]] == [str(n) for n in range(20)]
    log.append("flights", batch[0])
    assert (log.counts.buffered, log.counts.dropped, log.counts.error) == (1, 10, "")


def test_a_row_that_no_frame_can_hold_is_dropped_alone(sink: Sink) -> None:
    log = PredictionLog(sink, chunk=10)
    batch = decided(routes(FakeScorer()), *map(str, range(25)))
    for place in (3, 17):
        batch[place].key = "\ud800"  # half a character, which no text holds
    for item in batch:
        log.append("flights", item)
    assert log.flush() == 23
    counts = log.counts
    assert (counts.buffered, counts.flushed, counts.dropped, counts.error) == (0, 23, 2, "")
    kept = [key for _, f in sink.frames for key in f["key"]]
    assert kept == [str(n) for n in range(25) if n not in (3, 17)]


def test_a_feature_that_became_a_text_leaves_the_numbers_of_others_alone(sink: Sink) -> None:
    champion = decided(routes(FakeScorer()), *"abc")
    canary = decided(routes(FakeScorer(), FakeScorer(text=True), 1.0), *"def")
    log = PredictionLog(sink)
    mixed = [item for pair in zip(champion, canary, strict=True) for item in pair]
    sink.broken = True
    for _ in range(2):  # so that there are frames to join
        for item in mixed:
            log.append("flights", item)
        log.flush()
    sink.broken = False
    assert log.flush() == 12
    kept = {
        version: [
            f["flight__distance"].to_list() for _, f in sink.frames if f["version"].unique().item() == version
        ]
        for version in (1, 2)
    }
    assert kept == {1: [[0.0, 1.0, 2.0]] * 2, 2: [["0.0", "1.0", "2.0"]] * 2}


def test_one_deployment_that_cannot_be_stored_does_not_hold_up_another(sink: Sink) -> None:
    def picky(deployment: str, frame: pl.DataFrame) -> None:
        if deployment == "bad":
            raise OSError("no")
        sink(deployment, frame)

    log = PredictionLog(picky)
    one, two = decided(routes(FakeScorer()), "a", "b")
    log.append("bad", one)
    log.append("good", two)
    assert log.flush() == 1
    assert [deployment for deployment, _ in sink.frames] == ["good"]
    assert log.counts.buffered == 1


def test_frames_that_cannot_be_joined_are_kept(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    log = PredictionLog(sink, chunk=10)
    first, second = decided(routes(FakeScorer()), "a", "b")
    sink.broken = True
    log.append("flights", first)
    log.flush()
    sink.broken = False
    log.append("flights", second)
    with monkeypatch.context() as patch:
        patch.setattr(pl, "concat", lambda *_, **__: (_ for _ in ()).throw(MemoryError("no room")))
        assert log.flush() == 0
    assert (log.counts.buffered, log.counts.failures) == (2, 2)
    assert log.flush() == 2
    assert [key for _, f in sink.frames for key in f["key"]] == ["a", "b"]
    assert log.counts.buffered == 0
