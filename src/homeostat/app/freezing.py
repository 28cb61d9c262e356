"""The emergency stop: while a model is frozen, the loop changes nothing about what serves but to go back to safety.

A freeze is an event, and so is its end; which are in force follows from the ledger. While one is, no training begins,
nothing that was accepted is rolled out, no canary is promoted and no A/B test goes on. Canaries that are worse are
still withdrawn, and a champion that breaks its service level still gives way to the one before it. Watching goes on,
and each evaluation of a rule says that it is held. What people promote by hand is theirs to decide.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from homeostat.app.code import find_model
from homeostat.app.container import Container
from homeostat.domain.errors import Conflict
from homeostat.domain.events import Event

FROZEN: Final = "loop.frozen"
UNFROZEN: Final = "loop.unfrozen"
_EVERY: Final = "control/all"
_KNOWN: Final = 1000


class Freeze(msgspec.Struct, frozen=True, kw_only=True):
    """A freeze in force; without ``model`` it is of all models."""

    model: str
    reason: str
    actor: str
    at: datetime

    @property
    def why(self) -> str:
        """By whom, since when and why."""
        of = f"model/{self.model}" if self.model else "every model"
        return f"{of} by {self.actor} since {self.at:%Y-%m-%d %H:%M}: {self.reason}"


def freezes(container: Container) -> list[Freeze]:
    """Those in force, the newest first."""
    seen: set[str] = set()
    out = []
    for event in container.ledger.find(kinds=[FROZEN, UNFROZEN], limit=_KNOWN):
        if event.subject in seen:
            continue
        seen.add(event.subject)
        if event.kind == FROZEN:
            out.append(
                Freeze(model=event.body["model"], reason=event.body["reason"], actor=event.actor, at=event.at)
            )
    return out


def frozen(container: Container, model: str) -> Freeze | None:
    """The freeze that holds a model; None where none does."""
    return next((one for one in freezes(container) if one.model in ("", model)), None)


def freeze(container: Container, model: str = "", *, reason: str, actor: str) -> Freeze:
    """Freeze a model, or without a name all of them.

    Raises:
        NotFound: the project declares no such model.
        Conflict: it is frozen already.
    """
    if model:
        find_model(container, model)
    known = next((one for one in freezes(container) if one.model == model), None)
    if known is not None:
        raise Conflict(f"it is frozen already, {known.why}", remedy=f"End it with {_command(model)}")
    at = container.clock.now()
    _append(container, FROZEN, model, reason, actor, at)
    return Freeze(model=model, reason=reason, actor=actor, at=at)


def unfreeze(container: Container, model: str = "", *, reason: str, actor: str) -> Freeze:
    """End a freeze: of one model, or without a name the one of all; returns what was in force.

    Raises:
        Conflict: there is none.
    """
    known = next((one for one in freezes(container) if one.model == model), None)
    if known is None:
        others = "; ".join(one.why for one in freezes(container))
        raise Conflict(
            f"{f'model/{model} has' if model else 'there is'} no freeze of {'its own' if model else 'all models'}",
            remedy=f"In force: {others}" if others else "Nothing is frozen",
        )
    _append(container, UNFROZEN, model, reason, actor, container.clock.now())
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


def _append(container: Container, kind: str, model: str, reason: str, actor: str, at: datetime) -> None:
    subject = f"model/{model}" if model else _EVERY
    with container.store.begin() as tx:
        tx.append(
            Event(kind=kind, subject=subject, at=at, actor=actor, body={"model": model, "reason": reason})
        )
