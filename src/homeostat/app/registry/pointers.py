"""Moving an alias, with its event: the same for the loop and for clients, and one history for both."""

from __future__ import annotations

from typing import Any

from homeostat.app.container import Container
from homeostat.app.registry import deprecation
from homeostat.domain.events import Event
from homeostat.domain.records import Alias, ModelVersion
from homeostat.domain.refs import Ref
from homeostat.engine.registry import names
from homeostat.ports.meta import Reads, Transaction

MOVED = "model.alias-moved"


def move_alias(
    tx: Transaction, container: Container, model: str, alias: str, to: int | None, *, actor: str, reason: str
) -> None:
    """Let an alias point to a version, or with None to nothing; where it does already, nothing happens."""
    before = tx.get(Alias, model, alias)
    former = before.version if before else None
    if former == to:
        return
    now = container.clock.now()
    if to is None:
        tx.delete(Alias, ("model", "=", model), ("alias", "=", alias))
    else:
        tx.put(Alias(model=model, alias=alias, version=to, at=now))
    subject = str(Ref("model", model).at(alias))
    body: dict[str, Any] = {"alias": alias, "from": former, "to": to, "reason": reason}
    if to is not None and (found := deprecation.of(tx, model, to)) is not None:
        body["deprecated"] = deprecation.told(found)
    tx.append(Event(kind=MOVED, subject=subject, at=now, actor=actor, body=body))


def champion_of(reads: Reads, model: str) -> Alias | None:
    """The champion that the loop may serve and compare with.

    Clients may call a version ``champion`` that they registered; that has no package, and is none.
    """
    return _champion(reads, model)[0]


def champion_version(reads: Reads, model: str) -> ModelVersion | None:
    """The version that ``champion_of`` points to."""
    return _champion(reads, model)[1]


def _champion(reads: Reads, model: str) -> tuple[Alias, ModelVersion] | tuple[None, None]:
    alias = reads.get(Alias, model, names.CHAMPION)
    record = reads.get(ModelVersion, model, alias.version) if alias else None
    if alias is None or record is None or record.stage == "registered":
        return None, None
    return alias, record
