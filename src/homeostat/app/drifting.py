"""Drift of a deployment's inputs and answers: how large it is, and the evidence for it.

Effect sizes are over a window. Evidence grows over looks, each at the rows since the last, and is kept whole in the
window of the newest look, so that the next look, by whatever process, goes on from there. It begins anew with each
version, which has training data of its own, and when drift that was reported has gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.app import looks
from homeostat.app.alerts import open_alert, resolve_alert
from homeostat.app.answers import coded
from homeostat.app.container import Container
from homeostat.app.registry.pointers import champion_version
from homeostat.app.traffic import Traffic
from homeostat.app.trainingdata import Split
from homeostat.domain.declarations import Model
from homeostat.domain.declarations.rules import Drift, DriftTest
from homeostat.domain.durations import parse_duration
from homeostat.domain.records import Window
from homeostat.engine.control.rules import LEAST_ROWS, Suspicion, name_of
from homeostat.engine.features.times import instant
from homeostat.engine.monitoring import joint
from homeostat.engine.monitoring.drift import FeatureDrift, drift
from homeostat.engine.monitoring.evidence import Evidence, Verdict, judge, look, monitor
from homeostat.engine.monitoring.reference import (
    LABEL,
    SCORE,
    Profile,
    Reference,
    merge,
    profile,
    reference,
)
from homeostat.engine.monitoring.season import seasons
from homeostat.engine.registry.package import REFERENCE
from homeostat.ports.meta import Transaction


class Drifts(msgspec.Struct, frozen=True):
    """What was found: drift by window as it is written, suspicion by rule, and windows to keep.

    ``passed`` are the windows of the looks before, without the evidence that the new ones have: it is kept once.
    """

    sizes: dict[str, list[FeatureDrift]]
    suspicion: dict[str, Suspicion]
    windows: list[Window]
    passed: list[Window] = []


def training_reference(model: Model, rows: Split, scores: npt.NDArray[np.float64]) -> Reference:
    """The reference of a training: its rows, and the scores of those it held out.

    Some of the rows themselves are kept where a rule compares features together, or attributions are watched.
    """
    time, of = model.task.request.time, model.retrain.season if model.retrain else ()
    seen = held = None
    if time is not None and of:
        seen, held = (seasons(part.requests[time], of) for part in (rows.train, rows.holdout))
    made = reference(rows.train.X, scores, labels=rows.train.y, seasons=seen, score_seasons=held)
    together = any(isinstance(rule, DriftTest) and rule.joint for rule in _rules(model))
    if together or model.attributions is not None:
        made = msgspec.structs.replace(made, sample=joint.sample(rows.train.X, seen))
    return made


def _rules(model: Model) -> list[Drift | DriftTest]:
    rules = model.retrain.leaves if model.retrain else ()
    return [rule for rule in rules if isinstance(rule, Drift | DriftTest)]


def promises(model: Model) -> tuple[str, ...]:
    """How many false reports each drift rule of ``model`` lets expect, a sentence a rule."""
    return tuple(
        f"{name_of(rule)}: at most {rule.false_pages_a_month:.2g} false reports a month are to be expected"
        if isinstance(rule, DriftTest)
        else f"{name_of(rule)}: decides by size, and promises nothing of false reports"
        for rule in _rules(model)
    )


def drifts(container: Container, model: Model, log: Traffic, now: datetime) -> Drifts:
    """Look at the drift that the rules of ``model`` ask for.

    Args:
        container: The ports.
        model: Whose rules.
        log: What was asked, back to the longest window of the rules.
        now: The world's time.
    """
    rules = _rules(model)
    version = champion_version(container.store, model.name) if rules else None
    if version is None:
        return Drifts({}, {}, [])
    built = msgspec.json.decode(container.blobs.get(version.manifest["files"][REFERENCE]))
    against = Reference.read(built)
    names = [name for name in against.features if name in log.columns]
    sizes, windows = {}, []
    seen, counted = Profile(), None
    # From the shortest window on, so that a row is read once for all of them, unless each has a sample of its own.
    for text in sorted({rule.window for rule in rules}, key=parse_duration):
        within = pl.col("at") > instant(now - parse_duration(text))
        asked = log.asked(within, columns=["at", *names])
        if asked.one_in > 1:
            seen, counted = Profile(), None
        rows = asked.rows if counted is None else asked.rows.filter(~counted)
        fresh = profile(against, rows, summed_up=False)
        seen, counted = merge(seen, fresh), within
        sizes[text] = drift(against, seen) if seen.rows >= LEAST_ROWS else []
        if sizes[text]:
            windows += asked.told([_size_window(model, text, sizes[text], now)])
    suspicion, passed = {}, []
    for rule in rules:
        if isinstance(rule, DriftTest):
            last = _last(container, model, rule)
            found, window = _test(container, model, rule, version.version, against, log, sizes, last, now)
            suspicion[name_of(rule)] = found
            windows.append(window)
            if last is not None and last.end < now:
                told = {name: value for name, value in last.detail.items() if name != "evidence"}
                passed.append(msgspec.structs.replace(last, detail=told))
    return Drifts(sizes, suspicion, windows, passed)


def settle_drift(tx: Transaction, container: Container, window: Window) -> None:
    """Open a ticket for drift that a test reports, or resolve it. Drift alone breaks no promise: it is no page."""
    key = f"drift:{window.deployment}:{window.monitor}"
    if not window.breached:
        resolve_alert(tx, container, key)
        return
    suspects = window.detail["suspects"]
    behind = ", ".join(suspects) or "no feature by itself"
    together = ", together" if window.detail["joint"] else ""
    what = "labels" if suspects == [LABEL] else "requests"
    open_alert(
        tx,
        container,
        key=key,
        subject=f"deployment/{window.deployment}",
        severity="ticket",
        summary=(
            f"{what} drifted from the training data of version {window.detail['version']}; "
            f"behind it: {behind}{together}"
        ),
        action="the retraining rules decide next; homeostat why shows each evaluation",
        detail={
            "evidence": window.value,
            "needed": window.threshold,
            "suspects": suspects,
            "sizes": window.detail["sizes"],
        },
    )


def _test(
    container: Container,
    model: Model,
    rule: DriftTest,
    version: int,
    against: Reference,
    log: Traffic,
    sizes: dict[str, list[FeatureDrift]],
    last: Window | None,
    now: datetime,
) -> tuple[Suspicion, Window]:
    assert model.retrain is not None
    since = last.end if last is not None else now - parse_duration(model.retrain.check_every)
    # Another version has other training data, and evidence of its own.
    known = last is not None and last.detail["version"] == version and "evidence" in last.detail
    before = msgspec.convert(last.detail["evidence"], Evidence) if last is not None and known else Evidence()
    watched = [name for name in against.features if name in log.columns and rule.watches(name)]
    asked = log.asked(pl.col("at") > instant(since), pl.col("at") <= instant(now))
    new = asked.rows
    counted: dict[str, int] = {}
    if rule.joint:
        past = log.asked(
            pl.col("at") > instant(since - parse_duration(rule.window)), pl.col("at") <= instant(since)
        )
        found = _together(model, rule, against, watched, before, past.rows, new)
    else:
        shown = {one.feature: round(one.excess, 4) for one in sizes[rule.window] if one.feature in watched}
        parts = [(new.select(watched), _seasons(model, new))]
        if LABEL in rule.of and LABEL in against.features:
            watched.append(LABEL)
            so_far = last.detail.get("labels") if last is not None and known else None
            came, counted = _labels(container, model, rule, log, so_far, now - parse_duration(rule.window))
            parts.append((came.select(LABEL), _seasons(model, came)))
            shown |= {
                one.feature: round(one.excess, 4)
                for one in drift(against, profile(against, came, summed_up=False))
            }
        found = _apart(model, rule, against, watched, before, parts, shown)
    verdict = found.verdict
    suspicion = Suspicion(
        e=verdict.e,
        needed=verdict.needed,
        drifted=verdict.drifted,
        suspects=verdict.suspects,
        sizes=found.sizes,
        watched=found.watched,
        rows=found.evidence.rows,
        refused=found.refused,
        measure=found.measure,
    )
    window = Window(
        deployment=model.name,
        monitor=name_of(rule),
        start=since,
        end=now,
        rows=new.height,
        value=verdict.e if found.watched else None,
        threshold=verdict.needed,
        breached=verdict.drifted,
        detail={
            "version": version,
            "joint": rule.joint,
            "suspects": _behind(rule, watched, verdict),
            "features": verdict.features,
            "floors": found.floors,
            "refused": found.refused,
            "sizes": found.sizes,
            "measure": found.measure,
            "false_pages_a_month": rule.false_pages_a_month,
            "evidence": msgspec.to_builtins(found.evidence),
            **({"labels": counted} if counted else {}),
        },
    )
    return suspicion, asked.told([window])[0]


def _behind(rule: DriftTest, watched: list[str], verdict: Verdict) -> list[str]:
    """The features that a test reports; of those that it looks at together, as the rule names them."""
    if not rule.joint or not verdict.drifted:
        return verdict.suspects
    return list(rule.of) or [name for name in watched if name != SCORE]


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a look gave: the verdict, and the evidence that the next look goes on from."""

    verdict: Verdict
    evidence: Evidence
    watched: int
    floors: dict[str, float]
    refused: dict[str, int]
    sizes: dict[str, float]
    measure: str


def _apart(
    model: Model,
    rule: DriftTest,
    against: Reference,
    watched: list[str],
    before: Evidence,
    parts: list[tuple[pl.DataFrame, pl.Series | None]],
    shown: dict[str, float],
) -> _Found:
    """Each feature by itself, in rows of their own with their seasons: labels come later than requests."""
    assert model.retrain is not None
    promise = monitor(
        against, watched, false_alarm=rule.false_alarm, looks=model.retrain.looks, floor=rule.floor
    )
    evidence = before
    for rows, season in parts:
        evidence = look(promise, evidence, profile(against, rows, season, summed_up=False))
    if evidence is not before:
        evidence = msgspec.structs.replace(evidence, looks=before.looks + 1)
    verdict = judge(promise, evidence)
    over = judge(promise, before).drifted and not verdict.drifted
    return _Found(
        verdict=verdict,
        evidence=Evidence() if over else evidence,
        watched=len(promise.bets),
        floors=promise.floors,
        refused=promise.refused,
        sizes=shown,
        measure="PSI",
    )


def _together(
    model: Model,
    rule: DriftTest,
    against: Reference,
    watched: list[str],
    before: Evidence,
    past: pl.DataFrame,
    new: pl.DataFrame,
) -> _Found:
    """All features at once; answers are no feature."""
    assert model.retrain is not None
    names = [name for name in watched if name != SCORE]
    test = joint.joint(
        against, names, false_alarm=rule.false_alarm, looks=model.retrain.looks, floor=rule.floor
    )
    then, now = _seasons(model, past), _seasons(model, new)
    evidence, area = joint.look(test, before, past.select(names), new.select(names), then, now)
    verdict = joint.judge(test, evidence)
    over = joint.judge(test, before).drifted and not verdict.drifted
    return _Found(
        verdict=verdict,
        evidence=Evidence() if over else evidence,
        watched=0 if test.refused else len(names),
        floors={joint.JOINT: test.allowed},
        refused={joint.JOINT: test.refused} if test.refused else {},
        sizes={} if area is None else {joint.JOINT: round(area, 4)},
        measure="AUC",
    )


def _labels(
    container: Container,
    model: Model,
    rule: DriftTest,
    log: Traffic,
    so_far: dict[str, int] | None,
    since: datetime,
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Requests whose labels came since the last look, each once, with ``label``, and where to go on from."""
    source = looks.Source(model.task.source.name, coded(model.task), model.task.request.keys)
    if so_far is None:
        counted = looks.start(container, model.name, source)
        return pl.DataFrame(schema={LABEL: pl.Float64(), "time": pl.Datetime("us", "UTC")}), counted
    every = pl.lit(value=True)
    found = looks.look(container, model.name, source, so_far, ["at", "time"], judged=every, by=name_of(rule))
    came = found.outcomes.rename({looks.OUTCOME: LABEL}) if found.outcomes.width else pl.DataFrame()
    if not came.height:
        came = pl.DataFrame(schema={LABEL: pl.Float64(), "time": pl.Datetime("us", "UTC")})
    # What the log held before the window is not read again.
    recent = log.begins(pl.col("at") > instant(since))
    begun = max(found.seen["log_from"], recent - 1 if recent is not None else 0)
    return came, found.seen | {"log_from": min(begun, found.seen["log_seq"])}


def _last(container: Container, model: Model, rule: DriftTest) -> Window | None:
    """The window of the last look."""
    same: Sequence[Any] = (("deployment", "=", model.name), ("monitor", "=", name_of(rule)))
    return next(iter(container.store.find(Window, *same, order=["-end"], limit=1)), None)


def _seasons(model: Model, log: pl.DataFrame) -> pl.Series | None:
    assert model.retrain is not None
    of = model.retrain.season
    return seasons(log["time"], of) if of else None


def _size_window(model: Model, text: str, found: list[FeatureDrift], now: datetime) -> Window:
    return Window(
        deployment=model.name,
        monitor=f"drift {text}",
        start=now - parse_duration(text),
        end=now,
        rows=found[0].rows,
        value=found[0].excess,
        threshold=None,
        breached=False,
        detail={one.feature: _sizes(one) for one in found},
    )


def _sizes(one: FeatureDrift) -> dict[str, float]:
    """Effect sizes of a feature by name; what it has none of is absent."""
    sizes = {
        "psi": one.psi,
        "excess": one.excess,
        "jensen_shannon": one.distance,
        "cramers_v": one.association,
        "ks": one.ks,
        "wasserstein": one.wasserstein,
    }
    return {name: float(f"{value:.4g}") for name, value in sizes.items() if value is not None}
