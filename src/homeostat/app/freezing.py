"""The emergency stop: while a model is frozen, the loop changes nothing about what serves but to go back to safety.

A freeze is a record as long as it is in force; its beginning and its end are events. While there is one, no training
begins, nothing that was accepted is rolled out, no canary is promoted and no A/B test goes on. Canaries that are worse
are still withdrawn, and a champion that breaks its service level still gives way to the one before it. Watching goes
on, and each evaluation of a rule says that it is held. What people promote by hand is theirs to decide.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from homeostat.app.code import find_model
from homeostat.app.container import Container
from homeostat.domain.errors import Conflict
from homeostat.domain.events import Event
from homeostat.domain.records import Freeze
from homeostat.ports.meta import Transaction

FROZEN: Final = "loop.frozen"
UNFROZEN: Final = "loop.unfrozen"
_EVERY: Final = "control/all"


def freezes(container: Container) -> list[Freeze]:
    """Those in force, the newest first."""
    return container.store.find(Freeze, order=["-at"])


def frozen(container: Container, model: str) -> Freeze | None:
    """The freeze that holds a model; None where none does."""
    held = container.store.find(Freeze, ("model", "in", ["", model]), order=["-at"], limit=1)
    return held[0] if held else None


def freeze(container: Container, model: str = "", *, reason: str, actor: str) -> Freeze:
    """Freeze a model, or without a name all of them.

    Raises:
        NotFound: the project declares no such model.
        Conflict: it is frozen already.
    """
    if model:
        find_model(container, model)
    made = Freeze(model=model, reason=reason, actor=actor, at=container.clock.now())
    with container.store.begin() as tx:
        known = tx.lock(Freeze, model)
        if known is not None:
            raise Conflict(f"it is frozen already, {known.why}", remedy=f"End it with {_command(model)}")
        tx.insert(made)
        _append(tx, FROZEN, model, reason, actor, made.at)
    return made


def unfreeze(container: Container, model: str = "", *, reason: str, actor: str) -> Freeze:
    """End a freeze: of one model, or without a name the one of all; returns what was in force.

    Raises:
        Conflict: there is none.
    """
    with container.store.begin() as tx:
        known = tx.lock(Freeze, model)
        if known is None:
            others = "; ".join(one.why for one in tx.find(Freeze, order=["-at"]))
            raise Conflict(
                f"{f'model/{model} has' if model else 'there is'} no freeze of "
                f"{'its own' if model else 'all models'}",
                remedy=f"In force: {others}" if others else "Nothing is frozen",
            )
        tx.delete(Freeze, ("model", "=", model))
        _append(tx, UNFROZEN, model, reason, actor, container.clock.now())
    return known


def refuse_frozen(container: Container, model: str) -> None:
    """Raise unless trainings of ``model`` may begin.

    Raises:
        Conflict: it is frozen; says by whom and why.
    """
    held = frozen(container, model)
    if held is not None:
        raise Conflict(f"training is frozen, {held.why}", remedy=f"End it with {_command(held.model)}")


def _command(model: str) -> str:
    return f"homeostat unfreeze {model}".rstrip()


def _append(tx: Transaction, kind: str, model: str, reason: str, actor: str, at: datetime) -> None:
    subject = f"model/{model}" if model else _EVERY
    tx.append(Event(kind=kind, subject=subject, at=at, actor=actor, body={"model": model, "reason": reason}))
