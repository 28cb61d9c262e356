"""Signatures of versions: taken in, verified, and what a project asks for before a version serves.

A private key never comes here: whoever signs does so where the key is (``homeostat models sign``), and sends the
signature. Which keys count, the project says that is applied now; whoever loads a version verifies it once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from homeostat.app.alerts import open_alert, resolve_alert
from homeostat.app.code import asked_of
from homeostat.app.container import Container
from homeostat.app.registry.directories import kept_files
from homeostat.app.registry.reading import no_version, resolve
from homeostat.domain.declarations import SignaturePolicy
from homeostat.domain.errors import BadRequest, Conflict, Unsafe
from homeostat.domain.events import Event
from homeostat.domain.records import ModelVersion, Signature
from homeostat.domain.refs import Ref
from homeostat.engine.registry import signing
from homeostat.engine.registry.signing import Signed

SIGNED = "model.signed"


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A signature and whether it holds.

    Args:
        key: The fingerprint of the key.
        certificates: Those of its certificates, the root last; none of a plain key.
        names: What the project calls the keys that it counts for.
        problem: Why it does not hold; empty: it does.
        actor: Who sent it.
        at: When.
    """

    key: str
    certificates: list[str]
    names: list[str]
    problem: str
    actor: str
    at: datetime


class Signatures(msgspec.Struct, frozen=True, kw_only=True):
    """How a version stands with its signatures.

    Args:
        model: The model.
        version: The version.
        digest: That of its package, which is what was signed.
        policy: What the project asks for; None: nothing.
        missing: How many keys have yet to sign.
        signatures: What there is, the oldest first.
    """

    model: str
    version: int
    digest: str
    policy: SignaturePolicy | None
    missing: int
    signatures: list[Verified]


def add(
    container: Container, model: str, at: str, signed: Signed, *, digest: str = "", actor: str = "user"
) -> Signatures:
    """Keep a signature with its version, in place of an older one by the same key; a rollout that waited begins.

    Args:
        container: The ports.
        model: The model's name.
        at: The version's number, or an alias.
        signed: The signature, as ``signing.sign`` makes it.
        digest: The digest of the package that was signed, where the caller knows it.
        actor: Who sends it.

    Raises:
        NotFound: there is no such version, or its files are not kept here.
        Conflict: its digest is another.
        Unsafe: the signature is not over its files, or not by that key.
        NotInstalled: the extra ``signing`` is missing.
    """
    record = resolve(container.store, model, at).record
    ref = Ref("model", record.model).at(record.version)
    if digest and digest != record.digest:
        raise Conflict(
            f"{ref} has the digest {record.digest}, not {digest}", remedy="Look at this package, and sign it"
        )
    if not actor.strip() or "\0" in actor or len(actor) > 255:
        raise BadRequest("the actor is no name", field="actor", remedy="Use at most 255 characters")
    by = signing.signer(signed)
    signing.verify(kept_files(container, record), signed, by.certificates[-1] if by.certificates else by.key)
    now = container.clock.now()
    with container.store.begin() as tx:
        current = tx.lock(ModelVersion, record.model, record.version)
        if current is None:
            raise no_version(record.model, record.version)
        tx.put(
            Signature(
                model=record.model,
                version=record.version,
                key=by.key,
                public=signed.public,
                digest=current.digest,
                bundle=signed.bundle,
                actor=actor,
                at=now,
            )
        )
        body = {"digest": current.digest, "key": by.key, "certificates": by.certificates}
        tx.append(Event(kind=SIGNED, subject=str(ref), at=now, actor=actor, body=body))
    found = standing(container, record.model, str(record.version))
    if not found.missing:
        with container.store.begin() as tx:
            resolve_alert(tx, container, _key(record))
    return found


def standing(container: Container, model: str, at: str) -> Signatures:
    """How a version stands with its signatures, each verified now over its files.

    Raises:
        NotFound: there is no such version, or its files are not kept here.
        NotInstalled: there are signatures, and the extra ``signing`` is missing.
    """
    return _standing(container, resolve(container.store, model, at).record)


def bundles(container: Container, model: str, at: str) -> list[Signed]:
    """The signatures of a version, for whoever verifies them elsewhere.

    Raises:
        NotFound: there is no such version.
    """
    record = resolve(container.store, model, at).record
    return [Signed(bundle=one.bundle, public=one.public) for one in given(container, record)]


def given(container: Container, record: ModelVersion) -> list[Signature]:
    """The signatures of a version as they were sent, the oldest first."""
    return container.store.find(
        Signature, ("model", "=", record.model), ("version", "=", record.version), order=["at", "key"]
    )


def policy_of(container: Container, record: ModelVersion) -> SignaturePolicy | None:
    """What the project asks for before a version serves."""
    return asked_of(container, record, "signed", SignaturePolicy)


def awaits(container: Container, record: ModelVersion) -> str:
    """Whose signature a version waits for, as a sentence; empty: nobody's.

    Raises:
        NotInstalled: the extra ``signing`` is missing.
    """
    policy = policy_of(container, record)
    if policy is None:
        return ""
    found = _standing(container, record)
    if not found.missing:
        return ""
    wrong = [f"; the signature by {one.key}: {one.problem}" for one in found.signatures if one.problem]
    named = " or ".join(policy.keys) if policy.by == 1 else f"{policy.by} of {', '.join(policy.keys)}"
    return f"it waits for a signature by {named}{''.join(wrong)}"


def check(container: Container, record: ModelVersion) -> None:
    """Refuse to load a version without the signatures that the project asks for.

    Raises:
        Unsafe: they are missing, or do not hold.
        NotInstalled: the extra ``signing`` is missing.
    """
    if lacks := awaits(container, record):
        ref = Ref("model", record.model).at(record.version)
        raise Unsafe(f"{ref} cannot be loaded: {lacks}", remedy=remedy(record))


def remedy(record: ModelVersion) -> str:
    """What to do about a missing signature."""
    return f"homeostat models sign {record.model}@{record.version} --key …"


def ask(container: Container, record: ModelVersion, waits: str) -> None:
    """Tell people that a version waits for a signature; repeating it changes nothing."""
    _tell(container, record, f"passed its gates, and {waits}")


def warn(container: Container, record: ModelVersion) -> None:
    """Tell people while a version serves that could not be loaded again."""
    if waits := awaits(container, record):
        _tell(container, record, f"serves and could not be loaded again: {waits}")
        return
    with container.store.begin() as tx:
        resolve_alert(tx, container, _key(record))


def _tell(container: Container, record: ModelVersion, what: str) -> None:
    ref = Ref("model", record.model).at(record.version)
    with container.store.begin() as tx:
        open_alert(
            tx,
            container,
            key=_key(record),
            subject=str(ref),
            severity="ticket",
            summary=f"{ref} {what}",
            action=remedy(record),
            detail={"digest": record.digest},
            tags=record.tags,
        )


def _standing(container: Container, record: ModelVersion) -> Signatures:
    policy = policy_of(container, record)
    kept = given(container, record)
    files = kept_files(container, record) if kept else {}
    verified = [_verified(one, files, policy) for one in kept]
    names = {name for one in verified for name in one.names if not one.problem}
    return Signatures(
        model=record.model,
        version=record.version,
        digest=record.digest,
        policy=policy,
        missing=max(policy.by - len(names), 0) if policy else 0,
        signatures=verified,
    )


def _verified(one: Signature, files: Mapping[str, bytes], policy: SignaturePolicy | None) -> Verified:
    signed = Signed(bundle=one.bundle, public=one.public)
    known, names, problem = [one.key], [], ""
    try:
        by = signing.signer(signed)
        known = by.certificates or known
        signing.verify(files, signed, known[-1])  # whoever signed, did they sign this
    except Unsafe as error:
        problem = error.message
    else:
        # A chain begins at its root, so a named certificate counts there and nowhere else.
        names = [name for name, named in policy.keys.items() if named == known[-1]] if policy else []
    return Verified(
        key=one.key,
        certificates=known if known != [one.key] else [],
        names=names,
        problem=problem,
        actor=one.actor,
        at=one.at,
    )


def _key(record: ModelVersion) -> str:
    return f"signature:{record.model}@{record.version}"
