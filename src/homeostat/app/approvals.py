"""Approvals: people agree to a version that passed its gates, before it is rolled out.

An approval is to a package, by its digest, and under a policy, by that one's: another package or another policy needs
its own. The policy is the one that the project declares now. Who somebody is, the caller says; nothing proves it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from homeostat.app.alerts import open_alert, resolve_alert
from homeostat.app.code import asked_of
from homeostat.app.container import Container
from homeostat.app.registry.reading import no_version
from homeostat.domain.declarations import ApprovalPolicy
from homeostat.domain.digests import digest_of
from homeostat.domain.errors import BadRequest, Conflict
from homeostat.domain.events import Event
from homeostat.domain.records import Approval, ModelVersion, Run
from homeostat.domain.refs import Ref
from homeostat.ports.meta import Reads

APPROVED: Final = "model.approved"
_LONGEST: Final = 255
_JUDGED: Final = ("accepted", "canary", "champion", "rolled-back", "superseded", "retired")


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a version stands with its approvals.

    Args:
        model: The model.
        version: The version.
        digest: What is approved: the digest of its package.
        policy: What the project asks for; None: nothing.
        missing: How many people have yet to agree.
        approvals: Those that count.
        others: Those that were given to another package or under another policy.
    """

    model: str
    version: int
    digest: str
    policy: ApprovalPolicy | None
    missing: int
    approvals: list[Approval]
    others: list[Approval]


def approve(
    container: Container, model: str, version: int, *, actor: str, reason: str, digest: str = ""
) -> Standing:
    """Agree to a version. The same person's consent counts once.

    Args:
        container: The ports.
        model: The model's name.
        version: The version.
        actor: Who agrees.
        reason: Why, in a sentence.
        digest: The digest of the package that was looked at, where the caller knows it.

    Raises:
        NotFound: there is no such version.
        BadRequest: nobody is named, or no reason is given.
        Conflict: the model needs no approval, the gates have not accepted the version, its digest is another, or the
            policy leaves this person out.
    """
    actor, reason = actor.strip(), reason.strip()
    for field, text in (("actor", actor), ("reason", reason)):
        if not text or "\0" in text or len(text) > _LONGEST * 8:
            raise BadRequest(
                f"an approval without {field}", field=field, remedy=f"Give {field} in a sentence"
            )
    if len(actor) > _LONGEST:
        raise BadRequest("the actor is no name", field="actor", remedy=f"Use at most {_LONGEST} characters")
    record = _version(container.store, model, version)
    policy = policy_of(container, record)
    ref = Ref("model", model).at(version)
    if policy is None:
        raise Conflict(f"{ref} needs no approval", remedy="Declare one: hs.Model(…, approval=hs.approval())")
    requester = _requester(container.store, record)
    if not policy.requester and actor == requester:
        raise Conflict(
            f"{actor} asked for the training of {ref}, and its policy asks for somebody else",
            remedy="Let another person look at it",
        )
    given = _given(container, record, policy, actor, reason)
    with container.store.begin() as tx:
        current = tx.lock(ModelVersion, model, version)
        if current is None:
            raise no_version(model, version)
        if current.stage not in _JUDGED:
            why = current.stage_reason or "its gates have not judged it"
            raise Conflict(f"{ref} is {current.stage}: {why}", remedy="Approve a version that was accepted")
        if current.digest != given.digest or (digest and digest != current.digest):
            raise Conflict(
                f"{ref} has the digest {current.digest}, not {digest or given.digest}",
                remedy="Look at this package, and approve it",
            )
        if tx.get(Approval, model, version, given.policy, actor) is None:
            tx.insert(given)
            body = {"digest": given.digest, "policy": given.policy, "reason": reason, "needed": policy.by}
            tx.append(Event(kind=APPROVED, subject=str(ref), at=given.at, actor=actor, body=body))
        found = _standing(tx, current, policy)
        if not found.missing:
            resolve_alert(tx, container, _key(current))
    return found


def standing(container: Container, model: str, version: int) -> Standing:
    """How a version stands with its approvals.

    Raises:
        NotFound: there is no such version.
    """
    record = _version(container.store, model, version)
    return _standing(container.store, record, policy_of(container, record))


def policy_of(container: Container, record: ModelVersion) -> ApprovalPolicy | None:
    """What the project asks for before a version serves."""
    return asked_of(container, record, "approval", ApprovalPolicy)


def awaits(container: Container, record: ModelVersion) -> str:
    """Whose consent a version waits for, as a sentence; empty: nobody's."""
    found = _standing(container.store, record, policy_of(container, record))
    if not found.missing:
        return ""
    people = "one more person" if found.missing == 1 else f"{found.missing} more people"
    return f"it waits for the approval of {people}"


def ask(container: Container, record: ModelVersion) -> None:
    """Tell people that a version waits for them; repeating it changes nothing."""
    ref = Ref("model", record.model).at(record.version)
    with container.store.begin() as tx:
        open_alert(
            tx,
            container,
            key=_key(record),
            subject=str(ref),
            severity="ticket",
            summary=f"{ref} passed its gates, and {awaits(container, record)}",
            action=f"homeostat approve {record.model}@{record.version} --reason …",
            detail={"digest": record.digest},
            tags=record.tags,
        )


def _version(reads: Reads, model: str, version: int) -> ModelVersion:
    found = reads.get(ModelVersion, model, version)
    if found is None:
        raise no_version(model, version)
    return found


def _given(
    container: Container, record: ModelVersion, policy: ApprovalPolicy, actor: str, reason: str
) -> Approval:
    return Approval(
        model=record.model,
        version=record.version,
        policy=_digest(policy),
        actor=actor,
        digest=record.digest,
        reason=reason,
        at=container.clock.now(),
    )


def _standing(reads: Reads, record: ModelVersion, policy: ApprovalPolicy | None) -> Standing:
    given = reads.find(
        Approval, ("model", "=", record.model), ("version", "=", record.version), order=["at", "actor"]
    )
    requester = _requester(reads, record)
    counting = [
        one
        for one in given
        if policy is not None
        and (one.digest, one.policy) == (record.digest, _digest(policy))
        and (policy.requester or one.actor != requester)
    ]
    return Standing(
        model=record.model,
        version=record.version,
        digest=record.digest,
        policy=policy,
        missing=max(policy.by - len(counting), 0) if policy else 0,
        approvals=counting,
        others=[one for one in given if one not in counting],
    )


def _requester(reads: Reads, record: ModelVersion) -> str:
    run = reads.get(Run, record.run) if record.run else None
    return run.actor if run else ""


def _digest(policy: ApprovalPolicy) -> str:
    return digest_of(policy)


def _key(record: ModelVersion) -> str:
    return f"approval:{record.model}@{record.version}"
