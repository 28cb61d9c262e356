"""Each gate passes what it should, fails the rest, and says why in a sentence."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

import homeostat as hs
from homeostat.domain.declarations.gates import Beats, Calibrated, Gate, SingleRowLatency, WorstSlice
from homeostat.engine.registry.gates import GateEvidence, judge, name_of
from homeostat.engine.registry.metrics import measures

RNG = np.random.default_rng(7)
TRUE = RNG.uniform(0.05, 0.95, 3000)
Y = (RNG.random(3000) < TRUE).astype(np.int8)
NOISY = np.clip(TRUE + RNG.normal(0, 0.25, 3000), 0.01, 0.99)
CARRIER = np.where(np.arange(3000) % 3 == 0, "AA", "UA")


class Stopwatch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def evidence(**changes: Any) -> GateEvidence:
    fields: dict[str, Any] = {
        "y": Y,
        "p": TRUE,
        "p_champion": NOISY,
        "p_baseline": 0.5,
        "slices": pl.DataFrame({"carrier": CARRIER}),
        "predict_one": lambda row: row,
        "samples": [1],
        "monotonic": Stopwatch(),
    }
    return GateEvidence(**{**fields, **changes})


@pytest.mark.parametrize("metric", ["log_loss", "auc", "brier", "accuracy"])
def test_the_better_model_beats_the_champion_and_the_worse_does_not(metric: Any) -> None:
    better = judge(Beats("champion", metric), evidence())
    assert better.passed
    assert "better than the champion's" in better.reason
    worse = judge(Beats("champion", metric), evidence(p=NOISY, p_champion=TRUE))
    assert not worse.passed
    assert "no better than the champion's" in worse.reason


def test_an_equal_model_does_not_beat_and_a_margin_asks_for_more() -> None:
    assert not judge(Beats("champion", "log_loss"), evidence(p_champion=TRUE)).passed
    gain = judge(Beats("champion", "log_loss"), evidence())
    assert gain.value is not None
    assert gain.threshold is not None
    margin = gain.threshold - gain.value
    assert judge(Beats("champion", "log_loss", margin * 0.9), evidence()).passed
    held = judge(Beats("champion", "log_loss", margin * 1.1), evidence())
    assert not held.passed
    assert "needed" in held.reason


def test_the_first_model_has_no_champion_to_beat() -> None:
    verdict = judge(Beats("champion", "log_loss"), evidence(p_champion=None))
    assert verdict.passed
    assert verdict.reason == "no champion yet"
    assert verdict.value is not None


def test_the_base_rate_is_a_model_to_beat() -> None:
    assert judge(Beats("baseline", "log_loss"), evidence()).passed
    assert judge(Beats("baseline", "auc"), evidence()).passed
    assert not judge(Beats("baseline", "log_loss"), evidence(p=1 - TRUE)).passed


def test_no_change_is_what_the_label_before_says() -> None:
    better = judge(Beats("no_change", "log_loss"), evidence(p_no_change=1 - TRUE))
    assert better.passed
    assert "better than the no-change's" in better.reason
    assert not judge(Beats("no_change", "log_loss"), evidence(p_no_change=TRUE)).passed


GATES: list[Gate] = [
    Beats("champion", "log_loss"),
    Beats("champion", "auc"),
    WorstSlice("carrier", "log_loss", at_most=9.0),
    Calibrated(0.9),
]


@pytest.mark.parametrize("gate", GATES, ids=name_of)
def test_no_gate_passes_on_nothing_or_on_nan(gate: Gate) -> None:
    none = np.array([])
    empty = evidence(y=none, p=none, p_champion=none, slices=pl.DataFrame({"carrier": []}))
    assert not judge(gate, empty).passed
    assert "no held-out rows" in judge(gate, empty).reason
    broken = TRUE.copy()
    broken[5] = np.nan
    verdict = judge(gate, evidence(p=broken))
    assert not verdict.passed
    assert verdict.value is None


def test_a_champion_that_answers_nan_is_not_beaten_silently() -> None:
    verdict = judge(Beats("champion", "log_loss"), evidence(p_champion=np.full(3000, np.nan)))
    assert not verdict.passed
    assert "champion's log_loss has no value" in verdict.reason


def test_slices_that_would_cut_queries_are_judged_by_nobody() -> None:
    ranking = measures(hs.Ranking(label="clicked", source=hs.Dataset("clicks", key="id"), query="search"))
    y, query = np.tile([1, 0], 1500), np.arange(3000) // 2
    slices = pl.DataFrame({"phone": query % 2, "shop": np.arange(3000) % 2})
    known = evidence(y=y, p=y.astype(float), slices=slices, measures=ranking, together=query)
    assert judge(WorstSlice("phone", "mrr", 0.9, None, 100), known).passed
    cut = judge(WorstSlice("shop", "mrr", 0.1, None, 100), known)
    assert not cut.passed
    assert "shop differs within queries" in cut.reason


def test_the_worst_slice_decides() -> None:
    bad = np.where(CARRIER == "AA", 1 - TRUE, TRUE)
    verdict = judge(WorstSlice("carrier", "auc", at_least=0.6), evidence(p=bad))
    assert not verdict.passed
    assert "carrier AA" in verdict.reason
    assert verdict.evidence["slices"].keys() == {"AA", "UA"}
    assert judge(WorstSlice("carrier", "auc", at_least=0.6), evidence()).passed
    assert not judge(WorstSlice("carrier", "log_loss", at_most=0.01), evidence()).passed


def test_slices_that_cannot_be_judged_are_listed_and_alone_do_not_pass() -> None:
    few = WorstSlice("carrier", "auc", at_least=0.6, min_rows=1500)
    verdict = judge(few, evidence())
    assert verdict.passed
    assert verdict.evidence["skipped"] == {"AA": "1000 rows"}
    none = judge(WorstSlice("carrier", "auc", at_least=0.6, min_rows=9999), evidence())
    assert not none.passed
    assert "no slice of carrier has 9999 rows" in none.reason
    single = np.where(CARRIER == "AA", 0, Y).astype(np.int8)
    verdict = judge(WorstSlice("carrier", "auc", at_least=0.6), evidence(y=single))
    assert "single class" in verdict.evidence["skipped"]["AA"]


def test_missing_values_are_a_slice_and_a_missing_column_is_named() -> None:
    frame = pl.DataFrame({"carrier": [None if c == "AA" else c for c in CARRIER]})
    assert (
        "missing"
        in judge(WorstSlice("carrier", "auc", at_least=0.6), evidence(slices=frame)).evidence["slices"]
    )
    verdict = judge(WorstSlice("airline", "auc", at_least=0.6), evidence())
    assert not verdict.passed
    assert "'airline' is no column of the requests: carrier" in verdict.reason


def test_calibration_is_judged_with_its_table() -> None:
    assert judge(Calibrated(0.05), evidence()).passed
    off = judge(Calibrated(0.05), evidence(p=np.clip(TRUE + 0.2, 0, 1)))
    assert not off.passed
    assert sum(b["count"] for b in off.evidence["reliability"]) == 3000


def test_latency_is_the_quantile_of_single_predictions_after_a_warm_up() -> None:
    watch, asked = Stopwatch(), [0]

    def predict_one(row: Any) -> None:
        asked[0] += 1
        # The first ones are slow, as a cold model is; after that 2 in 100 are.
        watch.now += 0.5 if asked[0] <= 20 or asked[0] % 50 == 0 else 0.002

    slow = judge(SingleRowLatency(0.99, 0.02), evidence(predict_one=predict_one, monotonic=watch))
    assert asked[0] >= 220
    assert not slow.passed
    assert slow.value == pytest.approx(0.5)
    assert "took 500 ms, more than 20 ms" in slow.reason
    asked[0] = 0
    fine = judge(SingleRowLatency(0.9, 0.02), evidence(predict_one=predict_one, monotonic=watch))
    assert fine.passed
    assert fine.value == pytest.approx(0.002)


def test_a_candidate_that_cannot_predict_fails_with_its_error() -> None:
    def predict_one(row: Any) -> None:
        raise KeyError("wind")

    verdict = judge(SingleRowLatency(0.99, 0.02), evidence(predict_one=predict_one))
    assert not verdict.passed
    assert verdict.reason == "predicting one row failed: KeyError: 'wind'"
    assert not judge(SingleRowLatency(0.99, 0.02), evidence(samples=[])).passed


def test_names_are_unique_and_evidence_is_json() -> None:
    gates = [*GATES, WorstSlice("carrier", "auc", at_least=0.6), WorstSlice("carrier", "auc", at_most=1.0)]
    assert len({name_of(gate) for gate in gates}) == len(gates)
    for gate in (*gates, SingleRowLatency(0.99, 0.02)):
        msgspec.json.encode(judge(gate, evidence()))
