"""Concept drift of a deployment: whether the losses of its answers rose, looked at as their labels come.

What a look leaves is kept whole in the window of the newest look, so that the next one, by whatever process, goes on
from there. Versions follow one another in it, since one that learned more has smaller losses. It begins with the losses
of the rows that the champion's training held out, and anew once a training was submitted for the change that was found.
"""

from __future__ import annotations

import math
from datetime import datetime
from itertools import groupby
from typing import Final

import msgspec
import polars as pl

from homeostat.app import looks
from homeostat.app.alerts import open_alert, resolve_alert
from homeostat.app.answers import Array, coded, loss_of, predictions, told
from homeostat.app.container import Container
from homeostat.app.outcomes import log_of
from homeostat.app.reading import read
from homeostat.app.registry.pointers import champion_version
from homeostat.app.trainingdata import CHANGED_AT, DATA_SINCE, LEAST_SINCE, Split, moment
from homeostat.domain.declarations import ConceptDrift, Model, NewLabels
from homeostat.domain.durations import parse_duration
from homeostat.domain.records import Dataset, ModelVersion, Run, Window
from homeostat.domain.refs import parse_ref
from homeostat.engine.control.changes import Losses, look
from homeostat.engine.control.rules import Risen, name_of
from homeostat.engine.serving.predictions import PROBABILITIES
from homeostat.ports.meta import Where

LOSSES: Final = "losses:"
"""What the key of an alert about losses that rose begins with."""
HELD_OUT: Final = "losses.json"
"""The file of a package with what looks at the losses of its rows held out left."""
_KEPT: Final = ("losses", "seen")


def risen(container: Container, model: Model, last: Run | None) -> dict[str, Risen]:
    """What the concept drift rules of a model say, by their names, after a look at the labels that came.

    Args:
        container: The ports.
        model: Whose rules.
        last: Its newest training.
    """
    rules = _rules(model)
    version = champion_version(container.store, model.name) if rules else None
    if version is None or container.store.get(Dataset, log_of(model.name)) is None:
        return {}
    return {name_of(rule): _risen(container, model, rule, version, last) for rule in rules}


def kept(model: Model, rows: Split, held: Array) -> dict[str, bytes]:
    """The file that a package gets where a rule looks at losses: what looks at those of its rows held out would leave.

    Args:
        model: The declaration.
        rows: What it was trained and is judged on.
        held: What the model predicts for the rows held out.
    """
    time = model.task.request.time
    if time is None or model.retrain is None or not _rules(model):
        return {}
    times, period = rows.holdout.requests[time].to_list(), parse_duration(model.retrain.check_every)
    measured = loss_of(model.task, told(model.task, rows.train.y))
    losses, seen = measured.of(rows.holdout.y, held), Losses()
    for _, part in groupby(range(len(times)), lambda row: (times[row] - times[0]) // period):
        places = list(part)
        at = [times[row] for row in places]
        seen = look(seen, losses[places], at, most=measured.most, false_alarm=0.5, looks=model.retrain.looks)
    return {HELD_OUT: msgspec.json.encode(seen)}


def _rules(model: Model) -> list[ConceptDrift]:
    return [rule for rule in model.retrain.leaves if isinstance(rule, ConceptDrift)] if model.retrain else []


def _risen(
    container: Container, model: Model, rule: ConceptDrift, version: ModelVersion, last: Run | None
) -> Risen:
    assert model.retrain is not None
    now, every = container.clock.now(), model.retrain.looks
    of: list[Where] = [("deployment", "=", model.name), ("monitor", "=", name_of(rule))]
    found = container.store.find(Window, *of, order=["-end"], limit=1)
    window = found[0] if found else None
    before, seen = _before(container, model, version, window, last)
    came, seen = _came(container, model, seen)
    measured = loss_of(model.task, version.metrics)
    known = before
    if came.height:
        known = look(
            before,
            measured.of(came[looks.OUTCOME].to_numpy(), predictions(model.task, came)),
            came["time"].to_list(),
            most=measured.most,
            false_alarm=rule.false_alarm,
            looks=every,
        )
    e, needed = known.evidence(every), 1 / rule.false_alarm
    enough = known.change is not None and known.since_change >= LEAST_SINCE
    said = Risen(
        e=e,
        needed=needed,
        rows=known.rows,
        since=known.change,
        after=known.since_change,
        risen=e >= needed and enough,
        suspected=enough and known.suspicion >= math.log(every * needed),
    )
    fresh = Window(
        deployment=model.name,
        monitor=name_of(rule),
        start=window.end if window else now,
        end=now,
        rows=came.height,
        value=e,
        threshold=needed,
        breached=said.risen,
        detail={
            "since": said.since.isoformat() if said.since else None,
            "after": said.after,
            "losses": msgspec.to_builtins(known),
            "seen": seen,
        },
    )
    _keep(container, window, fresh, said)
    return said


def _before(
    container: Container, model: Model, version: ModelVersion, window: Window | None, last: Run | None
) -> tuple[Losses, dict[str, int]]:
    if window is None or any(name not in window.detail for name in _KEPT):
        held = version.manifest["files"].get(HELD_OUT)
        first = msgspec.json.decode(container.blobs.get(held), type=Losses) if held else Losses()
        return first, looks.start(container, model.name, _source(model))
    known = msgspec.convert(window.detail["losses"], Losses)
    told = window.breached and last is not None and last.created_at >= window.end
    return known.again() if told else known, window.detail["seen"]


def _source(model: Model) -> looks.Source:
    return looks.Source(model.task.source.name, coded(model.task), model.task.request.keys)


def _came(container: Container, model: Model, seen: dict[str, int]) -> tuple[pl.DataFrame, dict[str, int]]:
    """Answers whose labels came since the last look, as they came."""
    answered = pl.col("score").is_not_null()
    columns = ["time", "score", *([PROBABILITIES] if model.task.classes else [])]
    found = looks.look(container, model.name, _source(model), seen, columns, judged=answered)
    return found.outcomes, found.seen


def _keep(container: Container, before: Window | None, window: Window, said: Risen) -> None:
    key = f"{LOSSES}{window.deployment}:{window.monitor}"
    with container.store.begin() as tx:
        if before is not None and before.end < window.end:
            told = {name: value for name, value in before.detail.items() if name not in _KEPT}
            tx.put(msgspec.structs.replace(before, detail=told))
        tx.put(window)
        if not window.breached or said.since is None:
            resolve_alert(tx, container, key)
            return
        open_alert(
            tx,
            container,
            key=key,
            subject=f"deployment/{window.deployment}",
            severity="ticket",
            onset=said.since,
            summary=f"its losses rose, likely since {said.since:%Y-%m-%d %H:%M}: what was learned holds no more",
            action="it is trained again, also from the data since then alone; homeostat why shows each evaluation",
            detail={"evidence": said.e, "needed": said.needed, "since": said.since.isoformat()},
        )


def changed_at(found: dict[str, Risen], last: Run | None) -> datetime | None:
    """Since when the world is another, by a change that is reported, or as the last training knew."""
    reported = [one.since for one in found.values() if one.risen and one.since is not None]
    return max(reported) if reported else _known(last)


def suspected_at(found: dict[str, Risen], last: Run | None) -> datetime | None:
    """Since when the world may be another, by a change that is likely but not reported, after what is known."""
    known, likely = _known(last), [one.since for one in found.values() if one.suspected]
    later = [at for at in likely if at is not None and (known is None or at > known)]
    return max(later, default=None)


def _known(last: Run | None) -> datetime | None:
    """Since when the world is another, as the last training knew, or found by cutting its data there."""
    told = [moment(last.tags, name) for name in (CHANGED_AT, DATA_SINCE)] if last else []
    return max((at for at in told if at is not None), default=None)


def learned(container: Container, model: Model, last: Run | None, suspected: datetime | None = None) -> int:
    """Labelled rows that there were at a training, since the change that it knew; 0 where no rule asks.

    Args:
        container: The ports.
        model: The declaration.
        last: The training.
        suspected: Since when the world may be another. Where that was before the training, few of its rows tell of
            the world as it is; what comes after it, the test of losses that knows the world before will tell.
    """
    growing = model.retrain is not None and any(
        isinstance(rule, NewLabels) and rule.growth is not None for rule in model.retrain.leaves
    )
    source = model.task.source
    if last is None or not growing:
        return 0
    pinned = {ref.name: int(ref.version) for ref in map(parse_ref, last.inputs)}
    since = _known(last)
    if suspected is not None and suspected < last.created_at:
        since = suspected
    rows = read(container, source.name, version=pinned.get(source.name))
    if since is not None and source.time is not None:
        rows = rows.filter(pl.col(source.time) >= since)
    return int(rows.select(pl.len()).collect().item())
