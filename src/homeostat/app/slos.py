"""Error budgets: requests and minutes counted once into tallies that add, and the alerts on how fast they burn.

The prediction log is read from where the last look ended, so a look costs what came since, not what the windows span.
Counts and the position that they reach are committed together. Levels of time count a minute for each in which
somebody looked: what held then is good. Minutes in which nobody looked count neither way.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import polars as pl

from homeostat.app.alerts import open_alert, resolve_alert
from homeostat.app.code import declared
from homeostat.app.container import Container
from homeostat.app.outcomes import log_of
from homeostat.app.reading import read_since
from homeostat.app.registry.pointers import champion_version
from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import FeatureView, Model, Windows
from homeostat.domain.declarations.operation import Objective
from homeostat.domain.durations import format_duration, parse_duration
from homeostat.domain.errors import NotFound
from homeostat.domain.records import Alert, Dataset, Deployment, Run, Tallied, Tally, Window
from homeostat.engine.control.burn import (
    LONGEST,
    Burn,
    Counts,
    Numbers,
    Verdict,
    added_up,
    budget_left,
    judge,
    minute_of,
    rows_of,
)
from homeostat.ports.meta import Reads, Transaction, Where

_HOUR: Final = timedelta(hours=1)
_MARGIN: Final = timedelta(days=1)  # for so long minutes are judged that nobody looked at in time
# What has alerts on how fast its budget burns. The windows of quality page by themselves when they are judged.
_BURNING: Final = frozenset({"availability", "latency", "fairness", "data_age", "model_age"})


class LevelStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One service level and its error budget.

    Args:
        level: Its name, as in ``availability``.
        objective: The share of good events that is promised.
        of: ``requests``, or ``time`` in minutes that were looked at.
        bound: What tells good from bad: seconds, or the value of a metric; None where it needs none.
        value: What it is now, where it is a number: an age in seconds, a metric.
        good: The share of good events over the period; None without any.
        total: Events of the period.
        bad: How many of them were bad.
        budget_left: The share of the error budget that is left, below 0 when it is overspent.
        burns: The rate over each pair of windows, and whether it alerts.
    """

    level: str
    objective: float
    of: str
    bound: float | None
    value: float | None
    good: float | None
    total: int
    bad: int
    budget_left: float | None
    burns: list[Burn]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The service levels of a deployment over a period."""

    deployment: str
    period: str
    at: datetime
    levels: list[LevelStanding]


def alerting(severity: str) -> frozenset[str]:
    """The levels whose budgets alert so when they burn: nobody is woken for what takes a training."""
    return _BURNING - {"model_age"} if severity == "page" else _BURNING


def tally(container: Container, model: Model) -> list[str]:
    """Count what is new of a model's deployment and settle the alerts of its budgets; says which fired anew.

    Does nothing while the deployment serves nothing, and when neither a request nor a minute has passed.
    """
    slo, store, now = model.slo, container.store, container.clock.now()
    objectives = slo.objectives() if slo else []
    deployment = store.get(Deployment, model.name)
    if slo is None or not objectives or deployment is None or not deployment.arms:
        return []
    last = store.get(Tallied, model.name)
    log = store.get(Dataset, log_of(model.name))
    position = log.position if log else 0
    if last is not None and last.seq >= position and minute_of(last.at) >= minute_of(now):
        return []
    since = last.seq if last else 0
    rows = read_since(container, log_of(model.name), since, ("at", "status", "latency_us"))
    reached = int(rows[SEQ].max() or since) if rows.height else since  # type: ignore[arg-type] # an int64 column
    fresh = {one.name: _requests(one, rows) for one in objectives if one.of == "requests"}
    if last is None or minute_of(last.at) < minute_of(now):
        values = _values(container, model)
        fresh |= {name: np.array([[minute_of(now), 1, found.bad]]) for name, found in values.items()}
    with store.begin() as tx:
        current = tx.lock(Tallied, model.name)
        if current != last:
            return []  # another look was faster
        tx.put(Tallied(deployment=model.name, seq=reached, at=now))
        for name, counts in fresh.items():
            _add(tx, model.name, name, counts)
        if last is None or minute_of(last.at) // 60 < minute_of(now) // 60:
            kept = max(parse_duration(slo.period), LONGEST + _MARGIN)
            tx.delete(Tally, ("deployment", "=", model.name), ("hour", "<", now - kept))
        began = []
        for one in objectives:
            if one.name in _BURNING:
                verdict = _verdict(tx, model.name, one, now, minute_of(last.at) if last else 0)
                began += _settle(tx, container, model, one, verdict)
    return began


def standing(container: Container, model: Model) -> Standing:
    """How the service levels of a model's deployment stand."""
    slo, now, store = model.slo, container.clock.now(), container.store
    values = _values(container, model)
    levels = []
    for one in slo.objectives() if slo else []:
        assert slo is not None
        start = now - parse_duration(slo.period)
        parts = store.find(
            Tally, ("deployment", "=", model.name), ("level", "=", one.name), ("hour", ">=", start)
        )
        total, bad = sum(part.total for part in parts), sum(part.bad for part in parts)
        levels.append(
            LevelStanding(
                level=one.name,
                objective=one.target,
                of=one.of,
                bound=one.bound,
                value=values[one.name].value if one.name in values else None,
                good=1 - bad / total if total else None,
                total=total,
                bad=bad,
                budget_left=budget_left(total, bad, one.target),
                burns=_shown(one, _verdict(store, model.name, one, now, minute_of(now))),
            )
        )
    return Standing(deployment=model.name, period=slo.period if slo else "", at=now, levels=levels)


def _shown(objective: Objective, verdict: Verdict) -> list[Burn]:
    """How fast a budget burns; that of quality, which has alerts of its own, fires none."""
    if objective.name in _BURNING:
        return verdict.burns
    return [msgspec.structs.replace(one, fires=False) for one in verdict.burns]


def standings(container: Container, name: str = "") -> list[Standing]:
    """Of every model that declares service levels, or of one.

    Raises:
        NotFound: there is no such model, or it declares none.
    """
    models = [one for one in declared(container).models.values() if one.slo is not None]
    found = [one for one in models if not name or one.name == name.removeprefix("model/")]
    if name and not found:
        raise NotFound(
            f"model/{name} declares no service levels",
            remedy=f"Those that do: {', '.join(one.name for one in models) or 'none'}",
        )
    return [standing(container, one) for one in found]


def _requests(objective: Objective, rows: pl.DataFrame) -> Numbers:
    """(minute, 1, bad) of each request: those that asked wrongly (status 400 to 499) do not count."""
    if not rows.height:
        return np.empty((0, 3), np.int64)
    status = rows["status"].to_numpy()
    if objective.name == "latency":
        counted, bad = status < 400, rows["latency_us"].to_numpy() > (objective.bound or 0.0) * 1e6
    else:
        counted, bad = (status < 400) | (status >= 500), status >= 500
    minutes = rows["at"].to_numpy().astype("datetime64[m]").astype(np.int64)
    return np.column_stack((minutes, counted, bad))[counted]


class _Found(NamedTuple):
    value: float
    bad: bool


def _values(container: Container, model: Model) -> dict[str, _Found]:
    """Levels of time as they are now; absent where nothing can be said yet."""
    slo, store, now = model.slo, container.store, container.clock.now()
    found: dict[str, _Found] = {}
    for one in slo.objectives() if slo else []:
        if one.of == "requests" or one.bound is None:
            continue
        if one.name in ("data_age", "model_age"):
            since = _data_since(store, model) if one.name == "data_age" else _model_since(store, model)
            if since is not None:
                age = (now - since).total_seconds()
                found[one.name] = _Found(age, age > one.bound)
            continue
        same: Any = (("deployment", "=", model.name), ("monitor", "=", one.name))
        for window in store.find(Window, *same, order=["-end"], limit=1):
            if window.value is not None:
                judged = window.breached if window.threshold is not None else window.value > one.bound
                found[one.name] = _Found(window.value, judged)
    return found


def _data_since(store: Reads, model: Model) -> datetime | None:
    """When the newest rows came of the dataset that has waited the longest for some."""
    views = [view for view in model.features if isinstance(view, FeatureView | Windows)]
    sources = {view.source.name for view in views} or {model.task.source.name}
    records = [store.get(Dataset, name) for name in sorted(sources)]
    return min((one.arrived_at for one in records if one is not None and one.arrived_at), default=None)


def _model_since(store: Reads, model: Model) -> datetime | None:
    """Where the data of the champion's training end."""
    version = champion_version(store, model.name)
    if version is None:
        return None
    run = store.get(Run, version.run)
    return run.data_until if run is not None and run.data_until is not None else version.created_at


def _add(tx: Transaction, deployment: str, level: str, fresh: Numbers) -> None:
    if not fresh.size:
        return
    hours = np.unique(fresh[:, 0] // 60)
    # Nobody else changes them: whoever counts holds the lock of ``Tallied``.
    of: list[Where] = [("deployment", "=", deployment), ("level", "=", level)]
    known = tx.pick(Tally, ["minutes"], *of, ("hour", "in", [_hour(hour) for hour in hours.tolist()]))
    counts = added_up(np.concatenate([fresh, rows_of(minutes for (minutes,) in known)]))
    begins = np.searchsorted(counts[:, 0] // 60, hours[1:])
    tx.put(
        *(
            Tally(
                deployment=deployment,
                level=level,
                hour=_hour(hour),
                total=int(part[:, 1].sum()),
                bad=int(part[:, 2].sum()),
                minutes=part.tolist(),
            )
            for hour, part in zip(hours.tolist(), np.split(counts, begins), strict=True)
        )
    )


def _hour(number: int) -> datetime:
    """The hour of a number, counted from 1970."""
    return datetime.fromtimestamp(number * 3600, UTC)


def _verdict(store: Reads, deployment: str, objective: Objective, now: datetime, since: int) -> Verdict:
    span = LONGEST + _MARGIN
    parts = store.pick(
        Tally,
        ["minutes"],
        ("deployment", "=", deployment),
        ("level", "=", objective.name),
        ("hour", ">", now - span - _HOUR),
    )
    counts = Counts.of((minutes for (minutes,) in parts), minute_of(now), span)
    # What is judged late must have its longest window whole.
    floor = minute_of(now - _MARGIN)
    return judge(counts, objective.target, since=max(since, floor), sampled=objective.of == "requests")


def _settle(
    tx: Transaction, container: Container, model: Model, objective: Objective, verdict: Verdict
) -> list[str]:
    """Open what fired and resolve what is over; a page stands for the ticket of the same level."""
    pages = objective.name in alerting("page")
    page = pages and "page" in verdict.fired
    paging = page or (pages and "page" in verdict.standing)
    began = []
    for severity, opens, stands in (
        ("page", page, paging),
        ("ticket", bool(verdict.fired) and not paging, bool(verdict.standing) and not paging),
    ):
        if opens and _open(tx, container, model, objective, verdict, severity):
            began.append(f"deployment/{model.name} burns its budget of {objective.name}: {severity}")
        elif not opens and not stands:
            resolve_alert(tx, container, burn_alert(model.name, objective.name, severity))
    return began


def burn_alert(deployment: str, level: str, severity: str) -> str:
    """The key of the alert about a budget that burns."""
    return f"burn:{deployment}:{level}:{severity}"


def _open(
    tx: Transaction,
    container: Container,
    model: Model,
    objective: Objective,
    verdict: Verdict,
    severity: Any,
) -> bool:
    own = [one for one in verdict.burns if one.severity == severity] or verdict.burns
    worst = max(own, key=lambda one: (one.fires, one.factor))
    onset = min(verdict.since.values())
    span = format_duration(timedelta(hours=worst.hours))
    events = "requests" if objective.of == "requests" else "minutes"
    return open_alert(
        tx,
        container,
        key=burn_alert(model.name, objective.name, severity),
        subject=f"deployment/{model.name}",
        severity=severity,
        summary=(
            f"the error budget of {objective.name} burns at {worst.rate:.3g} times its rate: {worst.bad:,} of "
            f"{worst.total:,} {events} were bad over {span}, {1 - objective.target:.3g} of them may be"
        ),
        action=_done(tx, model.name, onset),
        onset=onset,
        detail={
            "level": objective.name,
            "objective": objective.target,
            "burns": msgspec.to_builtins(verdict.burns),
        },
    )


def _done(tx: Transaction, deployment: str, onset: datetime) -> str:
    """What was done since it began: an incident or a canary that was taken back says so."""
    same: Any = (("subject", "=", f"deployment/{deployment}"), ("opened_at", ">=", onset))
    for alert in tx.find(Alert, *same, order=["-opened_at"]):
        if alert.key.startswith(("incident:", "rollback:")):
            return f"{alert.action} (alert/{alert.id})"
    return "nothing was done by itself; homeostat slo shows the budget, homeostat rollback returns to what served"
