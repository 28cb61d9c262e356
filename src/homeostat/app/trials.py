"""A/B tests on live traffic: arms of a declared test, looked at each tick until one wins or the deadline comes."""

from __future__ import annotations

from typing import Any

import msgspec
import polars as pl

from homeostat.app import admission
from homeostat.app.answers import coded, loss_of, predictions
from homeostat.app.container import Container
from homeostat.app.deployments import crown, set_arms, set_stage
from homeostat.app.looks import OUTCOME, Source, look, start
from homeostat.app.registry.pointers import champion_of
from homeostat.app.workers import sync_workers
from homeostat.domain.declarations import Model
from homeostat.domain.declarations.comparing import CHAMPION, ABTest
from homeostat.domain.digests import digest_of
from homeostat.domain.events import Event
from homeostat.domain.ids import new_id
from homeostat.domain.records import Alias, Arm, Dataset, Deployment, ModelVersion, Rollout, Stage
from homeostat.domain.refs import number_of
from homeostat.domain.trials import Trial
from homeostat.engine.control.losses import Loss, name_of
from homeostat.engine.control.trial import TrialTest, Verdict, scaled
from homeostat.engine.serving.predictions import PROBABILITIES
from homeostat.ports.meta import Reads, Transaction

_SERVABLE = ("accepted", "canary", "champion", "retired", "rolled-back", "superseded")
_LOOKED_AT = ("arm", "version", "score", "error", "status", PROBABILITIES)


def begin_trial(container: Container, model: Model) -> Trial | None:
    """Begin the test that a model declares; None where it ran already, or an arm stands for nothing yet.

    A test whose declaration or arms are others by now is stopped for the new one.
    """
    spec = model.rollout
    new = _new(container.store, model.name, spec) if isinstance(spec, ABTest) else None
    if not isinstance(spec, ABTest) or new is None or _held_back(container, model.name, new[0]):
        return None
    with container.store.begin() as tx:
        tx.lock(Deployment, model.name)
        found = _new(tx, model.name, spec)
        if found is None:
            return None
        names, digest = found
        stop_trial(tx, container, model.name, "another test took its place")
        trial = _trial(container, model, spec, names, digest)
        tx.insert(trial)
        why = "A/B test: " + ", ".join(f"@{arm.version} {arm.weight:.0%}" for arm in trial.arms)
        set_arms(tx, container, model.name, trial.arms, actor="homeostat", reason=why)
        for arm in trial.arms:
            if arm.role != "champion":
                set_stage(tx, container, model.name, arm.version, "canary", actor="homeostat", reason=why)
        _tell(tx, container, trial, "trial.began", {"arms": msgspec.to_builtins(trial.arms)})
    sync_workers(container)
    return trial


def _held_back(container: Container, model: str, names: dict[str, int]) -> bool:
    """Whether an arm waits for a person or a signature, or is not to be deployed any more."""
    found = [container.store.get(ModelVersion, model, v) for name, v in names.items() if name != CHAMPION]
    return any(record is not None and admission.obstacle(container, record) for record in found)


def _new(reads: Reads, model: str, spec: ABTest) -> tuple[dict[str, int], str] | None:
    """The versions of the arms and the test's digest; None while it cannot begin, or where it ran already."""
    deployment = reads.get(Deployment, model)
    names = _resolved(reads, model, spec)
    if deployment is None or not deployment.arms or names is None:
        return None
    digest = digest_of({"spec": msgspec.to_builtins(spec), "arms": names})
    ran = reads.find(Trial, ("deployment", "=", model), ("digest", "=", digest), limit=1)
    canary = reads.find(Rollout, ("deployment", "=", model), ("state", "=", "running"), limit=1)
    return None if ran or canary else (names, digest)


def _resolved(reads: Reads, model: str, spec: ABTest) -> dict[str, int] | None:
    """By the name of an arm, its version; None while one stands for nothing that may serve, or two for the same."""
    champion = champion_of(reads, model)
    names = {}
    for name in spec.arms:
        if name == CHAMPION:
            version = champion.version if champion else 0
        elif (number := number_of(name)) is not None:
            version = number
        else:
            alias = reads.get(Alias, model, name)
            version = alias.version if alias else 0
        record = reads.get(ModelVersion, model, version) if version else None
        if record is None or record.stage not in _SERVABLE:
            return None
        names[name] = version
    return names if len(set(names.values())) == len(names) else None


def _trial(container: Container, model: Model, spec: ABTest, names: dict[str, int], digest: str) -> Trial:
    arms = [
        Arm(names[name], share, "champion" if name == CHAMPION else "variant")
        for name, share in spec.arms.items()
    ]
    champion = container.store.get(ModelVersion, model.name, names[CHAMPION])
    loss = loss_of(model.task, champion.metrics if champion else {})
    test = TrialTest(in_its_unit(spec, loss), {arm.version: arm.weight for arm in arms})
    return Trial(
        id=new_id(container.clock.wall()),
        deployment=model.name,
        state="running",
        spec=msgspec.to_builtins(spec),
        digest=digest,
        arms=arms,
        names=names,
        began_at=container.clock.now(),
        statistics=test.statistics()
        | {"loss": msgspec.to_builtins(loss)}
        | start(container, model.name, source_of(model, spec)),
    )


def in_its_unit(spec: ABTest, loss: Loss) -> ABTest:
    """The declaration with the bounds and the direction that a loss has."""
    if spec.outcome != name_of(loss):
        return spec
    return msgspec.structs.replace(spec, better="lower", bounds=(0.0, loss.most))


def source_of(model: Model, spec: ABTest) -> Source | None:
    """Where the outcomes of a test come from; None: by prediction id alone."""
    keys = model.task.request.keys
    if spec.outcome == model.task.loss:
        return Source(model.task.source.name, coded(model.task), keys)
    if spec.outcome == "label":
        return None
    dataset, _, column = spec.outcome.rpartition(".")
    return Source(dataset, pl.col(column), keys)


def step_trial(container: Container, model: Model, trial: Trial) -> Verdict | None:
    """Show a test what came since the last look, and do what it says; None while its dataset is not there."""
    loss = msgspec.convert(trial.statistics["loss"], Loss)
    spec = in_its_unit(msgspec.convert(trial.spec, ABTest), loss)
    source = source_of(model, spec)
    if source is not None and container.store.get(Dataset, source.dataset) is None:
        return None
    test = TrialTest(spec, {arm.version: arm.weight for arm in trial.arms}, trial.statistics)
    versions = [arm.version for arm in trial.arms]
    # A request for a version by its number was assigned to no arm.
    by_chance = pl.col("version").is_in(versions) & (
        (pl.col("arm") == "variant") | (pl.col("version") == trial.names[CHAMPION])
    )
    answered = (
        by_chance & pl.col("error").is_null() & (pl.col("status") == 200) & pl.col("score").is_not_null()
    )
    found = look(container, trial.deployment, source, trial.statistics, _LOOKED_AT, judged=answered)
    outcomes = found.outcomes
    if outcomes.height:
        values = outcomes[OUTCOME].to_numpy()
        if spec.outcome == name_of(loss):
            values = loss.of(values, predictions(model.task, outcomes))
        test.observe(outcomes["version"].to_list(), scaled(spec, values))
    verdict = test.decide(container.clock.now(), trial.began_at)
    looked = msgspec.structs.replace(trial, statistics=trial.statistics | verdict.statistics | found.seen)
    changed = _act(container, test, looked, verdict)
    if changed:
        sync_workers(container)
    return verdict


def _act(container: Container, test: TrialTest, trial: Trial, verdict: Verdict) -> bool:
    """Keep the look, and end the test or move its shares; says whether the arms changed."""
    with container.store.begin() as tx:
        deployment = tx.lock(Deployment, trial.deployment)
        current = tx.lock(Trial, trial.id)
        if deployment is None or current is None or current.state != "running":
            return False
        tx.put(trial)
        if verdict.action == "end":
            _end(tx, container, trial, "decided", verdict.reason, winner=verdict.winner)
            champion = champion_of(tx, deployment.model)
            if verdict.winner and (champion is None or champion.version != verdict.winner):
                crown(
                    tx, container, deployment.name, verdict.winner, actor="homeostat", reason=verdict.reason
                )
            else:
                _champion_alone(tx, container, deployment, verdict.reason)
            return True
        present = {arm.version: arm.weight for arm in deployment.arms}
        outcomes = sum(seen.count for seen in test.seen.values())
        weights = test.weights(outcomes, present)
        if weights is None:
            return False
        arms = [msgspec.structs.replace(arm, weight=weights[arm.version]) for arm in trial.arms]
        reason = f"shares follow {outcomes} outcomes"
        set_arms(tx, container, deployment.name, arms, actor="homeostat", reason=reason)
        return True


def running_trials(reads: Reads, deployment: str) -> list[Trial]:
    """The tests that run on a deployment: one at most."""
    return reads.find(Trial, ("deployment", "=", deployment), ("state", "=", "running"))


def stop_trial(
    tx: Transaction, container: Container, deployment: str, reason: str, *, taken_back: bool = False
) -> bool:
    """End the test of a deployment without a winner, in the caller's transaction; says whether one ran.

    The arms stay as they are: the caller sets others. Variants may come again unless they are ``taken_back``.
    """
    found = running_trials(tx, deployment)
    for trial in found:
        _end(tx, container, trial, "stopped", reason, taken_back=taken_back)
    return bool(found)


def end_undeclared(container: Container, model: Model) -> bool:
    """End the test of a model that declares another rollout by now; says whether one ran. Its champion stays alone."""
    if not running_trials(container.store, model.name):
        return False
    why = "another rollout is declared"
    with container.store.begin() as tx:
        deployment = tx.lock(Deployment, model.name)
        if deployment is None or not stop_trial(tx, container, model.name, why):
            return False
        _champion_alone(tx, container, deployment, why)
    sync_workers(container)
    return True


def _champion_alone(tx: Transaction, container: Container, deployment: Deployment, reason: str) -> None:
    champion = champion_of(tx, deployment.model)
    arms = [Arm(champion.version, 1.0, "champion")] if champion else []
    set_arms(tx, container, deployment.name, arms, actor="homeostat", reason=reason)


def _end(
    tx: Transaction,
    container: Container,
    trial: Trial,
    state: Any,
    reason: str,
    *,
    winner: int = 0,
    taken_back: bool = True,
) -> None:
    ended = msgspec.structs.replace(
        trial, state=state, ended_at=container.clock.now(), reason=reason, winner=winner
    )
    tx.put(ended)
    statistics = {k: trial.statistics.get(k) for k in ("threshold", "arms")}
    body = {"winner": winner, "reason": reason, "statistics": statistics}
    _tell(tx, container, trial, f"trial.{state}", body)
    for arm in trial.arms:
        record = tx.get(ModelVersion, trial.deployment, arm.version)
        if record is not None and record.stage == "canary" and arm.version != winner:
            stage: Stage = "rolled-back" if taken_back else "superseded"
            set_stage(tx, container, trial.deployment, arm.version, stage, actor="homeostat", reason=reason)


def _tell(tx: Transaction, container: Container, trial: Trial, kind: str, body: dict[str, Any]) -> None:
    about = {"deployment": trial.deployment, "names": trial.names}
    now = container.clock.now()
    tx.append(Event(kind=kind, subject=f"trial/{trial.id}", at=now, body=about | body))
