"""What happened, read from the store of the demo's home: every number in the report is computed here."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import polars as pl

from examples.flights.measure import MODEL, Scores, compared, scores
from homeostat.app.container import Container
from homeostat.app.explain import trace
from homeostat.app.reading import read
from homeostat.domain import records

INJECTED = "injected"
LEAST_HPA = 900.0


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """One training: why it began and what became of its version."""

    run: str
    began: datetime
    reason: str
    rows: int
    seconds: float | None
    version: int | None
    outcome: str
    because: str
    injected: str = ""


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """A version that became the champion."""

    version: int
    at: datetime
    reason: str


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A version that a gate stopped."""

    version: int
    at: datetime
    gate: str
    reason: str
    rows: int
    injected: str = ""


class Rollback(msgspec.Struct, frozen=True, kw_only=True):
    """A canary that was withdrawn, and how many requests it had answered until then."""

    version: int
    began: datetime
    at: datetime | None
    requests: int
    labelled: int
    reason: str
    injected: str = ""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Something a person should know, and what was done about it."""

    opened: datetime
    resolved: datetime | None
    severity: str
    subject: str
    summary: str
    action: str
    injected: str = ""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that the demo injected, and who noticed."""

    what: str
    injected_at: datetime
    caught: bool
    by: str = ""
    how: str = ""
    caught_at: datetime | None = None
    after: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the loop was better than its own first model."""

    loop_beats_frozen: bool
    log_loss_gain: float
    auc_gain: float
    months: int
    months_better: int
    worse_months: list[str]
    text: str


class Ledger(msgspec.Struct, frozen=True):
    """Whether the ledger's chain holds."""

    ok: bool
    events: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it; ``seconds`` is real time, everything else simulated."""

    began: datetime
    until: datetime
    seconds: float
    parts: dict[str, float]
    requests: dict[str, int]
    frozen: Scores
    loop: Scores
    verdict: Verdict
    trainings: list[Training]
    promotions: list[Promotion]
    rejections: list[Rejection]
    rollbacks: list[Rollback]
    alerts: list[Alert]
    faults: list[Fault]
    quarantined: dict[str, int]
    trace: dict[str, Any]
    ledger: Ledger


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What the driver knows of its own: what it asked, what it injected, how long it took.

    ``answers``: ``flight``, ``sched_dep``, ``prediction_id``, ``version``, ``score`` of each answered request.
    ``injected``: what, by when.
    """

    began: datetime
    until: datetime
    seconds: float
    parts: dict[str, float]
    answers: Any
    failed: int
    injected: dict[str, datetime]


def gather(container: Container, replayed: Replayed) -> Report:
    """Put the report together."""
    rows = compared(container, replayed.answers)
    frozen, loop = scores(rows, "frozen"), scores(rows, "score")
    promoted, rejected, withdrawn = promotions(container), rejections(container), rollbacks(container)
    checked = container.ledger.verify()
    return Report(
        began=replayed.began,
        until=replayed.until,
        seconds=replayed.seconds,
        parts=replayed.parts,
        requests={"answered": replayed.answers.height, "failed": replayed.failed, "labelled": rows.height},
        frozen=frozen,
        loop=loop,
        verdict=verdict(frozen, loop, champions=len(promoted)),
        trainings=trainings(container),
        promotions=promoted,
        rejections=rejected,
        rollbacks=withdrawn,
        alerts=alerts(container),
        faults=faults(container, replayed.injected, rejected, withdrawn),
        quarantined=quarantined(container),
        trace=one_trace(container, rows),
        ledger=Ledger(checked.ok, checked.checked),
    )


def verdict(frozen: Scores, loop: Scores, *, champions: int) -> Verdict:
    """Compare the two; better is lower log loss over the whole replay."""
    shared = [month for month in loop.by_month if month in frozen.by_month]
    worse = [m for m in shared if _value(loop.by_month[m].log_loss) >= _value(frozen.by_month[m].log_loss)]
    gain = _value(frozen.log_loss) - _value(loop.log_loss)
    better = gain > 0
    sense = "beat" if better else "did not beat"
    text = (
        f"The loop {sense} the frozen model: log loss {_value(loop.log_loss):.4f} against "
        f"{_value(frozen.log_loss):.4f}, better in {len(shared) - len(worse)} of {len(shared)} months"
    )
    if worse:
        text += f"; not better in {', '.join(worse)}"
    if champions == 1:
        text = "The loop is the frozen model: no other version has become champion yet"
    return Verdict(
        loop_beats_frozen=better,
        log_loss_gain=gain,
        auc_gain=_value(loop.auc) - _value(frozen.auc),
        months=len(shared),
        months_better=len(shared) - len(worse),
        worse_months=worse,
        text=text + ".",
    )


def _value(metric: float | None) -> float:
    return float("nan") if metric is None else metric


def trainings(container: Container) -> list[Training]:
    """Every training, the oldest first."""
    versions = {v.run: v for v in container.store.find(records.ModelVersion, ("model", "=", MODEL))}
    ended = {r.candidate: r for r in container.store.find(records.Rollout)}
    out = []
    for run in container.store.find(records.Run, ("model", "=", MODEL), order=["created_at", "id"]):
        version = versions.get(run.id)
        outcome, because = _outcome(run, version, ended.get(version.version) if version else None)
        out.append(
            Training(
                run=run.id,
                began=run.created_at,
                reason=run.reason,
                rows=run.rows,
                seconds=run.seconds,
                version=version.version if version else None,
                outcome=outcome,
                because=because,
                injected=run.tags.get(INJECTED, ""),
            )
        )
    return out


def _outcome(
    run: records.Run, version: records.ModelVersion | None, rollout: records.Rollout | None
) -> tuple[str, str]:
    if version is None:
        return run.state, run.error
    if version.stage == "rejected":
        return "rejected", version.stage_reason
    if rollout is not None:
        words = {"promoted": "promoted", "rolled-back": "rolled back", "running": "canary running"}
        return words[rollout.state], rollout.reason
    return (
        ("promoted", "the first version to pass its gates") if version.version == 1 else (version.stage, "")
    )


def promotions(container: Container) -> list[Promotion]:
    """Every move of the champion, the oldest first."""
    moves = container.ledger.find(kinds=["model.alias-moved"], limit=10_000, newest=False)
    return [
        Promotion(version=event.body["to"], at=event.at, reason=event.body["reason"])
        for event in moves
        if event.body["alias"] == "champion"
    ]


def rejections(container: Container) -> list[Rejection]:
    """Every version that did not pass its gates, with the first gate that stopped it."""
    out = []
    results = container.store.find(records.GateResult, ("model", "=", MODEL))
    for version in container.store.find(records.ModelVersion, ("model", "=", MODEL), order=["version"]):
        failed = [one for one in results if one.version == version.version and not one.passed]
        if version.stage != "rejected" or not failed:
            continue
        out.append(
            Rejection(
                version=version.version,
                at=failed[0].at,
                gate=", ".join(one.gate for one in failed),
                reason="; ".join(one.reason for one in failed),
                rows=max(_judged_on(one) for one in failed),
                injected=version.tags.get(INJECTED, ""),
            )
        )
    return out


def _judged_on(result: records.GateResult) -> int:
    rows = result.evidence.get("rows", 0)
    return sum(rows.values()) if isinstance(rows, dict) else int(rows)


def rollbacks(container: Container) -> list[Rollback]:
    """Every canary that was withdrawn."""
    return [
        Rollback(
            version=one.candidate,
            began=one.began_at,
            at=one.ended_at,
            requests=one.requests,
            labelled=one.labelled,
            reason=one.reason,
            injected=one.tags.get(INJECTED, ""),
        )
        for one in container.store.find(records.Rollout, ("state", "=", "rolled-back"), order=["began_at"])
    ]


def alerts(container: Container) -> list[Alert]:
    """Every alert, the oldest first."""
    return [
        Alert(
            opened=one.opened_at,
            resolved=one.resolved_at,
            severity=one.severity,
            subject=one.subject,
            summary=one.summary,
            action=one.action,
            injected=one.tags.get(INJECTED, ""),
        )
        for one in container.store.find(records.Alert, order=["opened_at"])
    ]


def quarantined(container: Container) -> dict[str, int]:
    """How many rows were set aside, by dataset, column and reason."""
    counts: dict[str, int] = {}
    for one in container.store.find(records.Quarantined, order=["at"]):
        name = f"{one.dataset}: {one.column} {one.reason}"
        counts[name] = counts.get(name, 0) + one.count
    return counts


def faults(
    container: Container, injected: dict[str, datetime], rejected: list[Rejection], withdrawn: list[Rollback]
) -> list[Fault]:
    """What the demo injected, and how each was caught: by a contract, by gates, by a canary, or not."""
    out = []
    for what, at in injected.items():
        gate = next((one for one in rejected if one.injected == what), None)
        canary = next((one for one in withdrawn if one.injected == what), None)
        rows = [
            one
            for one in container.store.find(records.Quarantined, order=["at"])
            if one.tags.get(INJECTED) == what
        ]
        if gate is not None:
            found = Fault(
                what=what,
                injected_at=at,
                caught=True,
                by=f"gate {gate.gate}",
                how=gate.reason,
                caught_at=gate.at,
                after=f"0 requests: it never served; judged on {gate.rows:,} held-out flights",
            )
        elif canary is not None:
            found = Fault(
                what=what,
                injected_at=at,
                caught=True,
                by="canary",
                how=canary.reason,
                caught_at=canary.at,
                after=f"{canary.requests:,} requests, {canary.labelled:,} of them labelled",
            )
        elif rows:
            found = _by_contract(container, what, at, rows)
        else:
            found = Fault(what=what, injected_at=at, caught=False)
        out.append(found)
    return out


def _by_contract(container: Container, what: str, at: datetime, rows: list[records.Quarantined]) -> Fault:
    dataset, columns = rows[0].dataset, sorted({one.column for one in rows})
    count = sum(one.count for one in rows)
    # What the table holds now is what any training could ever have read.
    got_in = read(container, dataset).filter(pl.col("pressure") < LEAST_HPA).collect().height
    return Fault(
        what=what,
        injected_at=at,
        caught=not got_in,
        by=f"contract of {dataset}, column {', '.join(columns)}",
        how=f"{count:,} rows set aside ({rows[0].column} {rows[0].reason}); {got_in} of them can be trained on",
        caught_at=rows[0].at,
        after=f"the first {rows[0].count} rows",
    )


def one_trace(container: Container, rows: pl.DataFrame) -> dict[str, Any]:
    """One prediction, of a flight that was late, back to the rows and versions behind it."""
    late = rows.filter(pl.col("late") == 1)
    if not late.height:
        return {}
    built: dict[str, Any] = msgspec.to_builtins(trace(container, late["prediction_id"][-1]))
    return built
