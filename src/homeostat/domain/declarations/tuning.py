"""Tuning: which parameters of a training function are searched for, where, and what that may take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import DeclarationError


class Numbers(msgspec.Struct, frozen=True, tag="numbers"):
    """Numbers from ``low`` to ``high``, both included: whole ones, or any; ``log``: as likely at each scale."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


class Choices(msgspec.Struct, frozen=True, tag="choices"):
    """One of ``values``."""

    values: tuple[str | int | float | bool | None, ...]


class Tuning(msgspec.Struct, frozen=True):
    """A search for parameters before a training, each trial a run of its own.

    Args:
        space: By parameter of the training function, where it is searched for: ``(1e-3, 10.0)`` any number between,
            ``(1e-3, 10.0, "log")`` as likely at each scale, ``(2, 8)`` whole numbers, ``["a", "b"]`` one of these.
        trials: How many there are at most.
        within: The real time after which none is begun.
    """

    space: Mapping[str, Any]
    trials: int = 20
    within: str = "10m"

    def __post_init__(self) -> None:
        parse_duration(self.within)
        if self.trials < 1 or not self.space:
            raise DeclarationError(
                f"hs.Tuning({dict(self.space)!r}, trials={self.trials!r}) tries nothing",
                remedy='Write hs.Tuning({"C": (1e-3, 10.0, "log")}, trials=20)',
            )
        read = {name: _read(name, where) for name, where in self.space.items()}
        msgspec.structs.force_setattr(self, "space", read)


def _read(name: str, where: Any) -> Numbers | Choices:
    if isinstance(where, Numbers | Choices):
        return where
    if isinstance(where, list) and len(where) > 1:
        return Choices(tuple(where))
    if isinstance(where, tuple) and len(where) in (2, 3) and where[2:] in ((), ("log",)):
        low, high, log = where[0], where[1], len(where) == 3
        numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (low, high))
        if numbers and low < high and (low > 0 or not log):
            return Numbers(low, high, log, isinstance(low, int) and isinstance(high, int))
    raise DeclarationError(
        f"hs.Tuning searches for {name!r} in {where!r}, which is no place",
        remedy='Write (1e-3, 10.0), (1e-3, 10.0, "log"), (2, 8) or ["a", "b"]',
    )
