"""Gates: whether a candidate may serve, judged on rows it was not trained on, with the evidence.

A gate that has nothing to judge does not pass: no rows, a metric without a value, no slice that is large enough. One
that compares with a champion passes where there is none, or none that can be asked: it may be what takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from homeostat.domain.declarations.gates import Beats, Calibrated, Gate, SingleRowLatency, WorstSlice
from homeostat.engine.registry.metrics import BINARY, Array, Measures, reliability

WARM_UP: Final = 20
LEAST_PREDICTIONS: Final = 200


@dataclass(frozen=True, kw_only=True)
class GateEvidence:
    """What gates look at: the held-out rows, newest labelled first or not, all aligned.

    Args:
        y: Labels, 0 and 1; places of classes, or numbers.
        p: The candidate's predictions, as its task has them (``scores``).
        p_champion: The champion's on the same rows; None where none answers.
        no_champion: Why none answers.
        p_no_change: What says that each label is as the one before it; None where nobody asks.
        p_baseline: What a model that knows no features would answer: the base rate of the training labels, the shares
            of the classes, or the labels' mean or quantile.
        slices: The request columns of the same rows.
        predict_one: Answers one of ``samples``, doing all that serving does to predict.
        samples: Single rows, taken in turn.
        monotonic: Seconds that never go back; the Clock's.
        measures: The metrics of the task.
        together: The number of the query, or of what else belongs together, of each row.
    """

    y: Array
    p: Array
    p_champion: Array | None
    p_baseline: float | Array
    slices: pl.DataFrame
    predict_one: Callable[[Any], Any]
    samples: Sequence[Any]
    monotonic: Callable[[], float]
    measures: Measures = BINARY
    together: Array | None = None
    p_no_change: Array | None = None
    no_champion: str = "no champion yet"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One gate's judgement; the fields are those of ``records.GateResult``."""

    gate: str
    passed: bool
    value: float | None
    threshold: float | None
    reason: str
    evidence: dict[str, Any] = {}


def name_of(gate: Gate) -> str:
    """What a gate is called, unique among gates that ask different things."""
    match gate:
        case Beats():
            return f"beats {gate.reference} {gate.metric}" + (f" by {gate.margin:g}" if gate.margin else "")
        case WorstSlice():
            bound = (
                f"at least {gate.at_least:g}" if gate.at_least is not None else f"at most {gate.at_most:g}"
            )
            return f"worst {gate.column} {gate.metric} {bound}"
        case Calibrated():
            return f"calibrated within {gate.within:g}"
        case SingleRowLatency():
            return f"single-row latency p{gate.quantile * 100:g} at most {_time(gate.at_most)}"


def judge(gate: Gate, evidence: GateEvidence) -> Verdict:
    """Judge one gate."""
    match gate:
        case SingleRowLatency():
            return _latency(gate, evidence)
        case _ if not len(evidence.y):
            return _fails(gate, "there are no held-out rows to judge on")
        case Beats():
            return _beats(gate, evidence)
        case WorstSlice():
            return _worst_slice(gate, evidence)
        case Calibrated():
            return _calibrated(gate, evidence)


def _fails(gate: Gate, reason: str, **fields: Any) -> Verdict:
    return Verdict(
        gate=name_of(gate),
        passed=False,
        value=fields.pop("value", None),
        threshold=fields.pop("threshold", None),
        reason=reason,
        evidence=fields,
    )


def _beats(gate: Beats, evidence: GateEvidence) -> Verdict:
    rows = len(evidence.y)
    measure, together = evidence.measures.measure, evidence.together
    value = measure(gate.metric, evidence.y, evidence.p, together)
    if value is None:
        return _fails(gate, f"{gate.metric} has no value on the {rows} held-out rows", rows=rows)
    if gate.reference == "champion" and evidence.p_champion is None:
        return Verdict(
            gate=name_of(gate),
            passed=True,
            value=value,
            threshold=None,
            reason=evidence.no_champion,
            evidence={"rows": rows, "candidate": value},
        )
    constant = np.asarray(evidence.p_baseline, dtype=np.float64)
    other = {
        "champion": evidence.p_champion,
        "no_change": evidence.p_no_change,
        "baseline": np.broadcast_to(constant, (rows, *constant.shape)),
    }[gate.reference]
    assert other is not None
    against = measure(gate.metric, evidence.y, other, together)
    if against is None:
        return _fails(
            gate, f"the {gate.reference}'s {gate.metric} has no value on these rows", value=value, rows=rows
        )
    sign = evidence.measures.sign(gate.metric)
    threshold = against + sign * gate.margin
    passed = sign * (value - threshold) > 0
    word = "better" if sign * (value - against) > 0 else "no better"
    needed = f", by more than {gate.margin:g} needed" if gate.margin else ""
    than = f"{word} than the {gate.reference.replace('_', '-')}'s {against:.4f}"
    reason = f"{gate.metric} {value:.4f} is {than} on {rows} rows{needed}"
    kept = {"rows": rows, "candidate": value, gate.reference: against, "margin": gate.margin}
    return Verdict(
        gate=name_of(gate), passed=passed, value=value, threshold=threshold, reason=reason, evidence=kept
    )


def _worst_slice(gate: WorstSlice, evidence: GateEvidence) -> Verdict:
    if gate.column not in evidence.slices.columns:
        return _fails(
            gate, f"{gate.column!r} is no column of the requests: {', '.join(evidence.slices.columns)}"
        )
    if evidence.measures.cuts(evidence.slices[gate.column], evidence.together):
        return _fails(
            gate,
            f"{gate.column} differs within queries, which slices would cut: name what all items of a query share",
        )
    values: dict[str, float] = {}
    counts: dict[str, int] = {}
    skipped: dict[str, str] = {}
    # -1: lower is better, so the worst is the largest.
    sign = 1.0 if gate.at_least is not None else -1.0
    bound = gate.at_least if gate.at_least is not None else gate.at_most
    assert bound is not None
    groups = pl.DataFrame({"slice": evidence.slices[gate.column].cast(pl.String)}).with_row_index("row")
    for (label,), rows in groups.group_by("slice", maintain_order=True):
        name, index = "missing" if label is None else str(label), rows["row"].to_numpy()
        counts[name] = len(index)
        if len(index) < gate.min_rows:
            skipped[name] = f"{len(index)} rows"
            continue
        y, p = evidence.y[index], evidence.p[index]
        together = evidence.together[index] if evidence.together is not None else None
        value = evidence.measures.measure(gate.metric, y, p, together)
        if value is None and not np.isfinite(p).all():
            return _fails(gate, f"{gate.column} {name} has scores that are not finite", threshold=bound)
        if value is None:
            skipped[name] = f"a single class in {len(index)} rows, where {gate.metric} means nothing"
        else:
            values[name] = value
    kept = {"slices": values, "rows": counts, "skipped": skipped}
    if not values:
        return _fails(
            gate, f"no slice of {gate.column} has {gate.min_rows} rows to judge", threshold=bound, **kept
        )
    worst = min(values, key=lambda name: sign * values[name])
    passed = sign * (values[worst] - bound) >= 0
    relation = ("at least" if sign > 0 else "at most") if passed else ("below" if sign > 0 else "above")
    reason = (
        f"the worst of {len(values)} slices, {gate.column} {worst}, has {gate.metric} {values[worst]:.4f}, "
        f"{relation} {bound:g}" + (f"; {len(skipped)} not judged" if skipped else "")
    )
    return Verdict(
        gate=name_of(gate), passed=passed, value=values[worst], threshold=bound, reason=reason, evidence=kept
    )


def _calibrated(gate: Calibrated, evidence: GateEvidence) -> Verdict:
    value = evidence.measures.measure("calibration_error", evidence.y, evidence.p)
    if value is None:
        return _fails(gate, "the calibration error has no value on these rows", threshold=gate.within)
    table = reliability(evidence.y, evidence.p)
    furthest = max(table, key=lambda b: abs(b.predicted - b.observed))
    passed = value <= gate.within
    reason = (
        f"calibration error {value:.4f} is {'within' if passed else 'beyond'} {gate.within:g} "
        f"on {len(evidence.y)} rows; furthest off where {furthest.predicted:.3f} was predicted "
        f"and {furthest.observed:.3f} came"
    )
    kept = {"rows": len(evidence.y), "reliability": msgspec.to_builtins(table)}
    return Verdict(
        gate=name_of(gate), passed=passed, value=value, threshold=gate.within, reason=reason, evidence=kept
    )


def _latency(gate: SingleRowLatency, evidence: GateEvidence) -> Verdict:
    """The quantile is the shortest measured time that this share did not exceed: no interpolation."""
    samples = evidence.samples
    if not len(samples):
        return _fails(gate, "there are no rows to predict", threshold=gate.at_most)
    # The 99.9th percentile needs a thousand measurements before one of them can lie beyond it.
    wanted = max(LEAST_PREDICTIONS, min(2000, round(2 / max(1 - gate.quantile, 1e-3))))
    seconds = np.empty(wanted)
    try:
        for turn in range(WARM_UP):
            evidence.predict_one(samples[turn % len(samples)])
        for turn in range(wanted):
            sample = samples[turn % len(samples)]
            began = evidence.monotonic()
            evidence.predict_one(sample)
            seconds[turn] = evidence.monotonic() - began
    except Exception as error:  # noqa: BLE001 - the candidate's own code; that it fails is the verdict
        return _fails(
            gate, f"predicting one row failed: {type(error).__name__}: {error}", threshold=gate.at_most
        )
    value = float(np.quantile(seconds, gate.quantile, method="inverted_cdf"))
    passed = value <= gate.at_most
    reason = (
        f"p{gate.quantile * 100:g} of {wanted} single-row predictions took {_time(value)}, "
        f"{'at most' if passed else 'more than'} {_time(gate.at_most)}"
    )
    kept = {
        "predictions": wanted,
        "p50": float(np.quantile(seconds, 0.5)),
        "p95": float(np.quantile(seconds, 0.95)),
        "most": float(seconds.max()),
    }
    return Verdict(
        gate=name_of(gate), passed=passed, value=value, threshold=gate.at_most, reason=reason, evidence=kept
    )


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
