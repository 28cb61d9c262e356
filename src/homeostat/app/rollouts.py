"""Rollouts: an accepted candidate becomes the champion, at once or by a canary that a sequential test watches."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from homeostat.app import admission, canaries
from homeostat.app.alerts import add_detail, open_alert
from homeostat.app.code import find_model
from homeostat.app.container import Container
from homeostat.app.deployments import crown, set_arms, set_stage
from homeostat.app.freezing import frozen
from homeostat.app.registry.pointers import champion_of, move_alias
from homeostat.app.trials import begin_trial, stop_trial
from homeostat.app.workers import sync_workers
from homeostat.domain.declarations import Canary, Model
from homeostat.domain.declarations.comparing import ABTest
from homeostat.domain.errors import Conflict, NotFound
from homeostat.domain.events import Event
from homeostat.domain.records import Arm, Deployment, ModelVersion, Rollout, Run
from homeostat.engine.control.canary import CanaryTest, Decision
from homeostat.ports.meta import Reads, Transaction

CHALLENGER = "challenger"


def promote(container: Container, model: str, version: int, *, actor: str, reason: str) -> Deployment:
    """Make a version the champion by hand.

    Raises:
        NotFound: there is no such version.
        Conflict: the gates rejected it, it is deprecated, or it waits for a signature or an approval.
    """
    record = container.store.get(ModelVersion, model, version)
    if record is None:
        raise NotFound(f"there is no model/{model}@{version}", remedy="homeostat status lists the versions")
    if record.stage in ("rejected", "candidate", "registered"):
        raise Conflict(
            f"model/{model}@{version} is {record.stage}: {record.stage_reason or 'no gate has judged it'}",
            remedy="Promote a version that passed its gates",
        )
    if obstacle := admission.obstacle(container, record):
        raise Conflict(f"model/{model}@{version} cannot serve: {obstacle.why}", remedy=obstacle.remedy)
    with container.store.begin() as tx:
        tx.lock(Deployment, model)  # first, here and wherever arms change: who waits, waits for this
        champion = champion_of(tx, model)
        if tx.get(ModelVersion, model, version) != record:
            raise Conflict(f"model/{model}@{version} changed meanwhile", remedy="Look at it, and try again")
        if champion is not None and champion.version == version:
            raise Conflict(
                f"model/{model}@{version} is the champion already", remedy="homeostat status shows the arms"
            )
        stop_trial(tx, container, model, f"@{version} was promoted by hand: {reason}")
        for running in _running(tx, model):
            _end(
                tx, container, running, "promoted" if running.candidate == version else "rolled-back", reason
            )
            if running.candidate != version:
                set_stage(tx, container, model, running.candidate, "superseded", actor=actor, reason=reason)
        deployment = crown(tx, container, model, version, actor=actor, reason=reason)
    sync_workers(container)
    return deployment


def rollback(container: Container, deployment: str, *, actor: str, reason: str) -> Deployment:
    """Take a running canary or A/B test out; without one, return to the champion before this one.

    Raises:
        NotFound: there is no such deployment.
        Conflict: there is nothing to return to.
    """
    with container.store.begin() as tx:
        found = tx.lock(Deployment, deployment)
        if found is None:
            raise NotFound(f"there is no deployment/{deployment}", remedy="homeostat status lists them")
        changed = step_back(tx, container, found, actor=actor, reason=reason)
    sync_workers(container)
    return changed


def step_back(
    tx: Transaction, container: Container, deployment: Deployment, *, actor: str, reason: str
) -> Deployment:
    """As ``rollback``, of a deployment that the transaction holds."""
    name = deployment.name
    running, champion = _running(tx, name), champion_of(tx, deployment.model)
    if running:
        return _withdraw(tx, container, running[0], reason, "rolled-back", actor=actor)
    if champion is not None and stop_trial(tx, container, name, reason, taken_back=True):
        arms = [Arm(champion.version, 1.0, "champion")]
        return set_arms(tx, container, name, arms, actor=actor, reason=reason)
    return crown(tx, container, name, former(tx, container, deployment), actor=actor, reason=reason)


def return_to(
    tx: Transaction, container: Container, name: str, version: int, *, actor: str, reason: str
) -> Deployment:
    """Make an earlier version the champion again and end whatever is tried out; the present one is rolled back."""
    tx.lock(Deployment, name)
    stop_trial(tx, container, name, reason)
    for running in _running(tx, name):
        _withdraw(tx, container, running, reason, "superseded", actor=actor)
    present = champion_of(tx, name)
    changed = crown(tx, container, name, version, actor=actor, reason=reason)
    if present is not None:
        set_stage(tx, container, name, present.version, "rolled-back", actor=actor, reason=reason)
    return changed


def stop(tx: Transaction, container: Container, deployment: str, reason: str) -> None:
    """Take every arm out of a deployment: it answers no more until its model is declared again."""
    found = tx.lock(Deployment, deployment)
    if found is None or not found.arms:
        return
    stop_trial(tx, container, deployment, reason)
    for running in _running(tx, deployment):
        _withdraw(tx, container, running, reason, "superseded", actor="homeostat")
    set_arms(tx, container, deployment, [], actor="homeostat", reason=reason)


def resume(tx: Transaction, container: Container, deployment: str, reason: str) -> None:
    """Give a deployment without arms its champion back, where it has one."""
    found = tx.lock(Deployment, deployment)
    champion = champion_of(tx, found.model) if found else None
    if found is not None and not found.arms and champion is not None:
        arms = [Arm(champion.version, 1.0, "champion")]
        set_arms(tx, container, deployment, arms, actor="homeostat", reason=reason)


def former(reads: Reads, container: Container, deployment: Deployment) -> int:
    """The champion before the present one, by the alias's history.

    Raises:
        Conflict: there was none.
    """
    now = champion_of(reads, deployment.model)
    moves = container.ledger.find(
        subject=f"model/{deployment.model}@champion", kinds=["model.alias-moved"], limit=50
    )
    for event in moves:
        former = event.body["from"]
        if now is not None and event.body["to"] == now.version and former is not None:
            record = reads.get(ModelVersion, deployment.model, former)
            if record is not None and record.stage != "registered":  # neither deleted nor without a package
                return record.version
    raise Conflict(
        f"deployment/{deployment.name} has no champion before this one",
        remedy="Promote a version by its number",
    )


def _running(tx: Transaction, deployment: str) -> list[Rollout]:
    return tx.find(Rollout, ("deployment", "=", deployment), ("state", "=", "running"))


def _end(tx: Transaction, container: Container, rollout: Rollout, state: Any, reason: str) -> None:
    ended = msgspec.structs.replace(rollout, state=state, ended_at=container.clock.now(), reason=reason)
    tx.put(ended)
    tx.append(
        Event(
            kind=f"rollout.{state}",
            subject=f"rollout/{rollout.id}",
            at=container.clock.now(),
            body={
                "deployment": rollout.deployment,
                "candidate": rollout.candidate,
                "requests": rollout.requests,
                "labelled": rollout.labelled,
                "reason": reason,
                "statistics": canaries.told(rollout.statistics),
                "tags": rollout.tags,
            },
        )
    )


def _withdraw(
    tx: Transaction,
    container: Container,
    rollout: Rollout,
    reason: str,
    stage: Literal["rolled-back", "superseded"],
    *,
    actor: str,
) -> Deployment:
    """Take a canary out: rolled back where it is at fault, superseded where it is not, so that it may come again."""
    _end(tx, container, rollout, "rolled-back", reason)
    set_stage(tx, container, rollout.deployment, rollout.candidate, stage, actor=actor, reason=reason)
    arms = [Arm(rollout.champion, 1.0, "champion")]
    return set_arms(tx, container, rollout.deployment, arms, actor=actor, reason=reason)


def begin(container: Container, model: str, version: int) -> bool:
    """Bring an accepted version in as its model declares; says whether it did. Repeating it changes nothing.

    Raises:
        Conflict: another version became the champion meanwhile; try again.
    """
    record = container.store.get(ModelVersion, model, version)
    run = container.store.get(Run, record.run) if record else None
    if record is None or run is None or record.stage != "accepted" or frozen(container, model):
        return False
    if same := _taken_back(container, record, run):
        why = f"the same was rolled back as @{same.version}: {same.stage_reason}"
        with container.store.begin() as tx:
            set_stage(tx, container, model, version, "rejected", actor="homeostat", reason=why)
        return False
    if admission.ask(container, record):
        return False
    declared = find_model(container, model, run.code)
    champion = champion_of(container.store, model)
    if isinstance(declared.rollout, ABTest) and champion is not None:
        return _challenge(container, declared, version)
    canary = declared.rollout if isinstance(declared.rollout, Canary) else None
    rollout = None
    if champion is not None and canary is not None:
        sync_workers(container)
        rollout = canaries.prepared(container, record, canary, champion.version, run)
    with container.store.begin() as tx:
        tx.lock(Deployment, model)
        found, present = tx.get(ModelVersion, model, version), champion_of(tx, model)
        if found is None or found.stage != "accepted":  # promoted by hand meanwhile
            return False
        if (present and present.version) != (champion and champion.version):
            raise Conflict(
                f"model/{model} got another champion while @{version} was prepared",
                remedy="It is tried again by itself",
            )
        why = f"@{version} came after it"
        stop_trial(tx, container, model, why)  # of a test that is no longer declared
        for running in _running(tx, model):
            _withdraw(tx, container, running, why, "superseded", actor="homeostat")
        if rollout is None or champion is None or canary is None:
            why = "the first version to pass its gates" if champion is None else "it passed its gates"
            crown(tx, container, model, version, actor="homeostat", reason=why)
        else:
            _begin(tx, container, rollout, canary)
    sync_workers(container)
    return True


def _taken_back(container: Container, record: ModelVersion, run: Run) -> ModelVersion | None:
    """A version that was rolled back and is the same: its bytes are, or all that its training followed from."""
    for one in container.store.find(
        ModelVersion, ("model", "=", record.model), ("stage", "=", "rolled-back"), order=["-version"]
    ):
        made = container.store.get(Run, one.run)
        if one.digest == record.digest or (made is not None and _followed_from(made) == _followed_from(run)):
            return one
    return None


def _followed_from(run: Run) -> tuple[Any, ...]:
    return run.inputs, run.features, run.code, run.function, run.params, run.seed


def _challenge(container: Container, model: Model, version: int) -> bool:
    """Make an accepted version the challenger, which begins the declared A/B test where its arms are complete."""
    with container.store.begin() as tx:
        tx.lock(Deployment, model.name)
        move_alias(
            tx,
            container,
            model.name,
            CHALLENGER,
            version,
            actor="homeostat",
            reason="the newest version that passed its gates",
        )
    return begin_trial(container, model) is not None


def _begin(tx: Transaction, container: Container, rollout: Rollout, canary: Canary) -> None:
    model, version, champion = rollout.deployment, rollout.candidate, rollout.champion
    tx.insert(rollout)
    why = f"canary with {canary.share:.0%} of the traffic"
    set_stage(tx, container, model, version, "canary", actor="homeostat", reason=why)
    arms = [Arm(champion, 1 - canary.share, "champion"), Arm(version, canary.share, "canary")]
    set_arms(tx, container, model, arms, actor="homeostat", reason=why)
    body = {"deployment": model, "candidate": version, "champion": champion, "share": canary.share}
    tx.append(
        Event(
            kind="rollout.began",
            subject=f"rollout/{rollout.id}",
            at=rollout.began_at,
            body=body | {"tags": rollout.tags},
        )
    )


def step(container: Container, rollout: Rollout) -> Decision:
    """Look at what a canary has answered since the last look, and do what the test says."""
    record = container.store.get(ModelVersion, rollout.deployment, rollout.candidate)
    run = container.store.get(Run, record.run) if record else None
    if record is None or run is None:
        raise NotFound(f"rollout/{rollout.id} has no candidate", remedy="Roll it back: homeostat rollback")
    model = find_model(container, rollout.deployment, run.code)
    assert isinstance(model.rollout, Canary)
    began = container.clock.monotonic()
    test = CanaryTest.restore(model.rollout, rollout.statistics)
    looked = canaries.shown(container, model, rollout, test)
    decision = test.decide(container.clock.now(), rollout.began_at, looked.requests, looked.labelled)
    if decision.action == "promote" and (held := frozen(container, rollout.deployment)):
        decision = msgspec.structs.replace(
            decision, action="continue", reason=f"{decision.reason}; held: frozen, {held.why}"
        )
    looked = msgspec.structs.replace(looked, statistics=looked.statistics | decision.statistics)
    with container.store.begin() as tx:
        tx.lock(Deployment, rollout.deployment)
        current = tx.lock(Rollout, rollout.id)
        if current is None or current.state != "running":
            return decision
        tx.put(looked)
        if decision.action == "promote":
            _end(tx, container, looked, "promoted", decision.reason)
            crown(
                tx,
                container,
                rollout.deployment,
                rollout.candidate,
                actor="homeostat",
                reason=decision.reason,
            )
        elif decision.action == "rollback":
            _withdraw(tx, container, looked, decision.reason, "rolled-back", actor="homeostat")
            open_alert(
                tx,
                container,
                key=f"rollback:{rollout.id}",
                subject=f"deployment/{rollout.deployment}",
                severity="ticket",
                summary=f"canary model/{rollout.deployment}@{rollout.candidate} was rolled back: {decision.reason}",
                action=f"all traffic returned to @{rollout.champion}",
                decision=f"all traffic returned to @{rollout.champion}",
                tags=rollout.tags,
                detail={
                    "seen": {"requests": looked.requests, "labelled": looked.labelled}
                    | canaries.told(looked.statistics),
                    "done": {"from": rollout.candidate, "to": rollout.champion},
                },
            )
    if decision.action != "continue":
        sync_workers(container)
    if decision.action == "rollback":
        add_detail(
            container,
            f"rollback:{rollout.id}",
            {
                "seconds": round(container.clock.monotonic() - began, 3),
                "after": str(container.clock.now() - rollout.began_at),
            },
        )
    return decision
