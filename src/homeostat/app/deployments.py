"""Changing what a deployment serves: one transaction moves arms, alias and stages, then the servers follow."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from homeostat.app.container import Container
from homeostat.app.registry import deprecation
from homeostat.app.registry.pointers import champion_of, move_alias
from homeostat.domain.declarations import Fallback
from homeostat.domain.errors import NotFound
from homeostat.domain.events import Edge, Event
from homeostat.domain.records import Arm, Deployment, ModelVersion, Stage
from homeostat.domain.refs import Ref
from homeostat.ports.meta import Transaction


def set_arms(
    tx: Transaction,
    container: Container,
    name: str,
    arms: Sequence[Arm],
    *,
    actor: str,
    reason: str,
    shadows: Sequence[Arm] | None = None,
) -> Deployment:
    """Give a deployment other arms, and with ``shadows`` others of these; without, they stay beside what answers.

    Raises:
        NotFound: there is no such deployment.
    """
    deployment = tx.lock(Deployment, name)
    if deployment is None:
        raise NotFound(f"there is no deployment/{name}", remedy="Declare the model and run homeostat apply")
    present = [arm for arm in deployment.arms if arm.role == "shadow"] if shadows is None else list(shadows)
    answering = {arm.version for arm in arms}
    if arms:
        arms = [*arms, *(arm for arm in present if arm.version not in answering)]
    changed = msgspec.structs.replace(
        deployment, generation=deployment.generation + 1, arms=list(arms), at=container.clock.now()
    )
    _put(tx, changed, actor, reason)
    deprecation.warn(tx, container, changed)
    return changed


def set_fallback(tx: Transaction, container: Container, name: str, fallback: Fallback | None) -> None:
    """Let a deployment fall back on something else, where that is new."""
    deployment = tx.lock(Deployment, name)
    # As the store gives it back: a tuple would be another than its list each time.
    declared = {} if fallback is None else msgspec.json.decode(msgspec.json.encode(fallback))
    if deployment is None or deployment.fallback == declared:
        return
    changed = msgspec.structs.replace(
        deployment, generation=deployment.generation + 1, fallback=declared, at=container.clock.now()
    )
    _put(tx, changed, "homeostat", "another fallback is declared")


def _put(tx: Transaction, changed: Deployment, actor: str, reason: str) -> None:
    tx.put(changed)
    ref = f"deployment/{changed.name}"
    tx.append(
        Event(
            kind="deployment.changed",
            subject=ref,
            at=changed.at,
            actor=actor,
            body={
                "generation": changed.generation,
                "arms": msgspec.to_builtins(changed.arms),
                "reason": reason,
            },
            edges=tuple(
                Edge(str(Ref("model", changed.model).at(arm.version)), ref, f"served as {arm.role}")
                for arm in changed.arms
            ),
        )
    )


def set_stage(
    tx: Transaction, container: Container, model: str, version: int, stage: Stage, *, actor: str, reason: str
) -> ModelVersion:
    """Move a version to another stage.

    Raises:
        NotFound: there is no such version.
    """
    record = tx.lock(ModelVersion, model, version)
    if record is None:
        raise NotFound(f"there is no model/{model}@{version}", remedy="homeostat status lists the versions")
    moved = msgspec.structs.replace(record, stage=stage, stage_reason=reason)
    tx.put(moved)
    tx.append(
        Event(
            kind=f"model.{stage}",
            subject=str(Ref("model", model).at(version)),
            at=container.clock.now(),
            actor=actor,
            body={"from": record.stage, "reason": reason, "tags": record.tags},
        )
    )
    return moved


def crown(
    tx: Transaction, container: Container, name: str, version: int, *, actor: str, reason: str
) -> Deployment:
    """Make a version the champion with all of the traffic; the one before retires."""
    deployment = tx.lock(Deployment, name)
    if deployment is None:
        raise NotFound(f"there is no deployment/{name}", remedy="Declare the model and run homeostat apply")
    model = deployment.model
    before = champion_of(tx, model)
    if before is not None and before.version != version:
        set_stage(
            tx, container, model, before.version, "retired", actor=actor, reason=f"@{version} took its place"
        )
    set_stage(tx, container, model, version, "champion", actor=actor, reason=reason)
    move_alias(tx, container, model, "champion", version, actor=actor, reason=reason)
    return set_arms(tx, container, name, [Arm(version, 1.0, "champion")], actor=actor, reason=reason)
