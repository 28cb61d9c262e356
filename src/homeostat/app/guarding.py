"""Champions on probation: one that breaks its service levels soon after it took over gives way to the one before it.

Availability, and where declared the p99, are judged after every look by tests that may be watched all the time
(``sequential``). What the version is not at fault for does not count: requests refused because a store was away, and a
moment in which the whole machine was slow, which is one observation however many requests it held.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
import polars as pl

from homeostat.app.alerts import add_detail, open_alert
from homeostat.app.container import Container
from homeostat.app.outcomes import log_of
from homeostat.app.reading import read_since
from homeostat.app.registry.pointers import champion_of
from homeostat.app.rollouts import former, return_to
from homeostat.app.workers import sync_workers
from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import SLO, Model
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import Conflict
from homeostat.domain.records import Alias, Dataset, Deployment, ModelVersion
from homeostat.domain.trials import Probation
from homeostat.engine.control.sequential import MeanTest, State

_FALSE_ALARM: Final = 0.001  # over a whole probation
_LEAST_RATE: Final = 0.005  # so few failures are a matter of the promise, and of people, not of the version
_LEAST_FAILED: Final = 10
_SLOW: Final = 0.01  # the share of answers that a p99 leaves out
_FAILED: Final = (pl.col("status") >= 500) & (pl.col("status") != 503)


def guard(container: Container, model: Model) -> str:
    """Judge the champion of a model's deployment while it is on probation; says what was done, if anything."""
    slo, alias = model.slo, champion_of(container.store, model.name)
    if slo is None or alias is None or not slo.rollback_on:
        return ""
    now = container.clock.now()
    if now - alias.at > parse_duration(slo.probation):
        return ""
    found = container.store.get(Probation, model.name)
    if found is None or (found.version, found.began_at) != (alias.version, alias.at):
        begun = _begun(container, model, slo, alias)
        with container.store.begin() as tx:
            tx.put(begun)
        return ""
    if not found.former:
        return ""
    rows = read_since(
        container, log_of(model.name), found.log_seq, ("arm", "version", "status", "latency_us", "at")
    )
    if not rows.height:
        return ""
    own = rows.filter(pl.col("version") == found.version, pl.col("arm") == "champion")
    judged = _judged(slo, found, own, int(rows[SEQ].max() or found.log_seq))  # type: ignore[arg-type] # an int64 column
    broken = [name for name, test in judged.statistics["tests"].items() if test["broken"]]
    if not broken:
        with container.store.begin() as tx:
            tx.put(judged)
        return ""
    return _go_back(container, judged, broken, now)


def _begun(container: Container, model: Model, slo: SLO, alias: Alias) -> Probation:
    log = container.store.get(Dataset, log_of(model.name))
    return Probation(
        deployment=model.name,
        version=alias.version,
        former=refuge(container, model.name),
        began_at=alias.at,
        until=alias.at + parse_duration(slo.probation),
        log_seq=log.position if log else 0,
    )


def refuge(container: Container, name: str) -> int:
    """The version to return to; 0 where there is none, or it was itself taken back before."""
    store = container.store
    deployment = store.get(Deployment, name)
    try:
        version = former(store, container, deployment) if deployment else 0
    except Conflict:
        return 0
    record = store.get(ModelVersion, name, version) if version else None
    return version if record is not None and record.stage == "retired" else 0


def _judged(slo: SLO, probation: Probation, own: pl.DataFrame, log_seq: int) -> Probation:
    before = probation.statistics.get("tests", {})
    failed = own.select(_FAILED.alias("failed"))["failed"]
    tests: dict[str, Any] = {}
    if "availability" in slo.rollback_on and slo.availability is not None:
        allowed = min(max(1 - slo.availability, _LEAST_RATE), 0.5)
        test = _updated(before.get("availability"), allowed, failed.cast(pl.Float64).to_list())
        failures = round(test.state.total)
        tests["availability"] = _told(test, len(slo.rollback_on), failures >= _LEAST_FAILED)
    if "p99" in slo.rollback_on and slo.p99 is not None:
        answered = own.filter(pl.col("status") == 200)["latency_us"]
        slow = (answered > parse_duration(slo.p99).total_seconds() * 1e6).mean()
        test = _updated(before.get("p99"), _SLOW, [] if slow is None else [float(slow)])  # type: ignore[arg-type] # a share
        tests["p99"] = _told(test, len(slo.rollback_on), True)
    first = probation.statistics.get("first_failure")
    if first is None and failed.any():
        first = own.filter(_FAILED)["at"].min().isoformat()  # type: ignore[union-attr] # there is one
    requests = probation.statistics.get("requests", 0) + own.height
    statistics = {"tests": tests, "first_failure": first, "requests": requests}
    return msgspec.structs.replace(probation, log_seq=log_seq, statistics=statistics)


def _updated(before: dict[str, Any] | None, mean: float, values: list[float]) -> MeanTest:
    state = msgspec.convert(before["state"], State) if before else None
    test = MeanTest(mean, state=state)
    test.update(values)
    return test


def _told(test: MeanTest, of: int, enough: bool) -> dict[str, Any]:
    threshold = of / _FALSE_ALARM
    return {
        "e_value": test.e_value,
        "peak": test.peak,
        "threshold": threshold,
        "observed": test.observed,
        "allowed": test.mean,
        "count": test.state.count,
        "broken": enough and test.peak >= threshold,
        "state": test.dump(),
    }


def _go_back(container: Container, probation: Probation, broken: list[str], now: datetime) -> str:
    """Return to the former version, and keep an incident: what was seen, what was done, how long it took."""
    began = container.clock.monotonic()
    name, bad, good = probation.deployment, probation.version, probation.former
    tests = probation.statistics["tests"]
    seen = "; ".join(
        f"{what}: {tests[what]['observed']:.2%} of {tests[what]['count']} "
        f"{'requests failed' if what == 'availability' else 'looks were slow'}, {tests[what]['allowed']:.2%} allowed "
        f"(e-value {tests[what]['peak']:.3g} of {tests[what]['threshold']:.3g})"
        for what in broken
    )
    reason = f"@{bad} broke its service level soon after it took over: {seen}"
    key = f"incident:{name}:{bad}:{probation.began_at.isoformat()}"
    first = probation.statistics["first_failure"]
    seconds = {"since_first_failure": (now - datetime.fromisoformat(first)).total_seconds()} if first else {}
    with container.store.begin() as tx:
        alias = champion_of(tx, name)
        if alias is None or alias.version != bad:
            return ""
        changed = return_to(tx, container, name, good, actor="homeostat", reason=reason)
        tx.put(probation)
        open_alert(
            tx,
            container,
            key=key,
            subject=f"deployment/{name}",
            severity="page",
            summary=reason,
            action=f"rolled back to @{good}",
            onset=datetime.fromisoformat(first) if first else None,
            decision=f"rolled back to @{good}",
            detail={
                "seen": {what: {k: v for k, v in tests[what].items() if k != "state"} for what in broken}
                | {"requests": probation.statistics["requests"]},
                "done": {"from": bad, "to": good, "generation": changed.generation},
                "seconds": seconds,
            },
        )
    sync_workers(container)
    took = seconds | {"to_roll_back": round(container.clock.monotonic() - began, 3)}
    add_detail(container, key, {"seconds": took})
    return f"deployment/{name} was rolled back to @{good}: {reason}"
