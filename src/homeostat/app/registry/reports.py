"""What the registry answers to Homeostat's own clients. Light to import, as a client does."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from homeostat.app.registry.reading import ModelShown, VersionShown


class Models(msgspec.Struct, frozen=True):
    """A page of registered models; ``token`` asks for the next one."""

    models: list[ModelShown]
    token: str


class Model(msgspec.Struct, frozen=True):
    """A registered model with its newest versions."""

    model: ModelShown
    versions: list[VersionShown]


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """What an alias pointed to at a time, and since when; ``arms`` is what the model's deployment served then.

    ``event`` is that of the ledger which says so; ``version`` is None where the alias pointed to nothing.
    """

    model: str
    alias: str
    at: datetime
    version: int | None = None
    since: datetime | None = None
    actor: str = ""
    reason: str = ""
    event: int = 0
    arms: list[dict[str, Any]] = []


class Difference(msgspec.Struct, frozen=True):
    """One fact that differs; None where a version has none of it."""

    group: str
    name: str
    old: Any
    new: Any


class Compared(msgspec.Struct, frozen=True):
    """Two versions, what differs between them, and how many facts of each group are the same."""

    old: str
    new: str
    differences: list[Difference]
    same: dict[str, int]
