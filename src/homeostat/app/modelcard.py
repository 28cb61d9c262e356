"""Model cards from the records: every fact about a version is read, none is written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from homeostat.app import approvals, signatures
from homeostat.app.code import declared, find_model
from homeostat.app.container import Container
from homeostat.app.registry import deprecation, reading
from homeostat.app.registry.contents import contents
from homeostat.app.trainingdata import CHANGED_AT, DATA_SINCE, moment
from homeostat.domain.declarations import Model
from homeostat.domain.errors import NotFound
from homeostat.domain.records import Deployment, GateResult, ModelVersion, Run
from homeostat.domain.refs import Ref
from homeostat.domain.release import VERSION
from homeostat.engine.lineage.walk import walk
from homeostat.engine.registry import card as cards
from homeostat.engine.registry.card import Card, Consent
from homeostat.engine.registry.gates import Verdict


def card(container: Container, model: str, at: str = "latest") -> Card:
    """The card of a version.

    Args:
        container: The ports.
        model: The model's name.
        at: The version's number, or an alias.

    Raises:
        NotFound: there is no such version.
    """
    shown = reading.resolve(container.store, model, at)
    record = shown.record
    about = reading.model(container.store, model)
    run = container.store.get(Run, record.run) if record.run else None
    then = _at_training(container, record, run)
    now = _declared(container, record.model) or then
    of = contents(container, record)
    ref = str(Ref("model", record.model).at(record.version))
    made = Card(
        model=record.model,
        version=record.version,
        ref=ref,
        digest=record.digest,
        stage=record.stage,
        stage_reason=record.stage_reason,
        created_at=record.created_at,
        description=record.description or about.record.description,
        task=then.task.spec() if then else {},
        aliases=sorted(shown.aliases),
        tags={name: value for name, value in shown.tags.items() if not name.startswith(cards.TAG)},
        deprecation=deprecation.told(shown.deprecation) if shown.deprecation else "",
        statements=cards.statements(
            now.card if now else {}, cards.tagged(about.tags), cards.tagged(shown.tags)
        ),
        training=_training(run),
        contents=of,
        metrics=of.metrics,
        gates=[_judged(one) for one in _gates(container, record)],
        approvals=[
            Consent(actor=one.actor, at=one.at, reason=one.reason)
            for one in approvals.standing(container, record.model, record.version).approvals
        ],
        signed_by=[one.key for one in signatures.given(container, record)],
        files=record.manifest.get("files", {}),
        lineage=list(dict.fromkeys(_refs(walk(container.ledger, ref, "up"), "up"))),
        serving=list(_serving(container, record)),
        slo=_promised(now),
    )
    made = msgspec.structs.replace(made, limits=cards.limits(made))
    return msgspec.structs.replace(made, missing=cards.missing(made))


def bill_of_materials(found: Card) -> bytes:
    """The CycloneDX bill of materials of a card's version, validated.

    Raises:
        NotInstalled: the extra ``bom`` is missing.
    """
    from homeostat.engine.registry.bom import cyclonedx

    return cyclonedx(found, version=VERSION)


def _at_training(container: Container, record: ModelVersion, run: Run | None) -> Model | None:
    """The model as it was declared at the training, else as it is now."""
    if run is None or not run.code:
        return _declared(container, record.model)
    try:
        return find_model(container, record.model, run.code)
    except NotFound:  # the snapshot is gone
        return _declared(container, record.model)


def _declared(container: Container, model: str) -> Model | None:
    try:
        return declared(container).models.get(model)
    except NotFound:  # no project was applied
        return None


def _training(run: Run | None) -> dict[str, Any]:
    if run is None:
        return {}
    told: dict[str, Any] = {
        "reason": run.reason,
        "asked_by": run.actor,
        "rows": run.rows or None,
        "changed_at": _moment(moment(run.tags, CHANGED_AT)),
        "data_since": _moment(moment(run.tags, DATA_SINCE)),
        "data_until": _moment(run.data_until),
        "seed": run.seed if run.kind == "train" else None,
        "seconds": round(run.seconds, 3) if run.seconds is not None else None,
    }
    return {name: value for name, value in told.items() if value not in (None, "")}


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else ""


def _gates(container: Container, record: ModelVersion) -> list[GateResult]:
    return container.store.find(GateResult, ("model", "=", record.model), ("version", "=", record.version))


def _judged(found: GateResult) -> Verdict:
    return Verdict(
        gate=found.gate,
        passed=found.passed,
        value=found.value,
        threshold=found.threshold,
        reason=found.reason,
        evidence=found.evidence,
    )


def _refs(tree: list[dict[str, Any]], side: str) -> Iterator[str]:
    for node in tree:
        yield node["ref"]
        yield from _refs(node.get(side, []), side)


def _serving(container: Container, record: ModelVersion) -> Iterator[str]:
    for deployment in container.store.find(Deployment, ("model", "=", record.model)):
        for arm in deployment.arms:
            if arm.version == record.version:
                yield f"deployment/{deployment.name}: {arm.role} with {arm.weight:.0%} of the traffic"


def _promised(declaration: Model | None) -> dict[str, Any]:
    if declaration is None or declaration.slo is None:
        return {}
    said: dict[str, Any] = msgspec.to_builtins(declaration.slo)
    promised = {name: value for name, value in said.items() if value is not None}
    return promised if set(promised) - {"window"} else {}
