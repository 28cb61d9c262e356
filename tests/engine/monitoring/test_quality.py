"""Quality stands with how many labels it rests on; service counts what a caller noticed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss

from homeostat.engine.monitoring.quality import quality
from homeostat.engine.monitoring.service import service

RNG = np.random.default_rng(9)


def measure(y: Any, p: Any) -> Mapping[str, float]:
    return {"log_loss": float(log_loss(y, p, labels=[0, 1]))}


def test_only_answered_and_labelled_requests_are_judged() -> None:
    frame = pl.DataFrame(
        {"score": [0.2, 0.9, 0.4, None, 0.5], "late": [False, True, None, True, True]},
        schema={"score": pl.Float64, "late": pl.Boolean},
    )
    found = quality(frame, "late", measure)
    assert found.labelled == 3
    assert found.unlabelled == 1
    assert found.metrics["log_loss"] == pytest.approx(log_loss([0, 1, 1], [0.2, 0.9, 0.5]))
    assert found.log_loss is not None
    assert found.log_loss.value == pytest.approx(found.metrics["log_loss"])
    assert found.log_loss.low < found.log_loss.value < found.log_loss.high
    assert found.positive == pytest.approx(2 / 3)
    assert found.predicted == pytest.approx(1.6 / 3)


def test_without_labels_there_is_nothing_to_say() -> None:
    frame = pl.DataFrame({"score": [0.5], "late": [None]}, schema={"score": pl.Float64, "late": pl.Int8})
    found = quality(frame, "late", measure)
    assert (found.labelled, found.unlabelled, found.metrics) == (0, 1, {})
    assert (found.log_loss, found.positive, found.predicted) == (None, None, None)
    assert quality(frame.clear(), "late", measure).unlabelled == 0


def test_the_interval_holds_the_true_loss_as_often_as_it_says() -> None:
    p = RNG.uniform(0.05, 0.95, 200_000)
    truth = float(np.mean(-p * np.log(p) - (1 - p) * np.log(1 - p)))
    inside = 0
    for _ in range(400):
        scores = RNG.choice(p, 300)
        frame = pl.DataFrame({"score": scores, "late": (RNG.random(300) < scores).astype(np.int8)})
        interval = quality(frame, "late", lambda y, p: {}).log_loss
        assert interval is not None
        inside += interval.low <= truth <= interval.high
    assert 0.92 <= inside / 400 <= 0.98


def test_service_counts_what_the_caller_noticed() -> None:
    log = pl.DataFrame(
        {
            "status": [200] * 97 + [503, 400, 200],
            "latency_us": [*range(1000, 98_000, 1000), 5, 5, 98_000],
            "error": [None] * 99 + ["ValueError"],
        }
    )
    found = service(log)
    assert (found.requests, found.failed, found.rescued) == (99, 1, 1)
    assert found.availability == pytest.approx(98 / 99)
    assert found.latency["p50"] == pytest.approx(0.050, abs=0.001)
    assert found.latency["p99"] == pytest.approx(0.098)
    empty = service(log.clear())
    assert (empty.requests, empty.availability, empty.latency) == (0, None, {})
