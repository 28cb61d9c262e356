"""Records of what is tried out on live traffic beside a canary: A/B tests, and champions on probation."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from homeostat.domain.records import Arm, Record


class Trial(Record, frozen=True, kw_only=True):
    """An A/B test and how it ended; ``statistics`` holds the tests' state at the last look.

    ``spec`` is the declaration, ``digest`` that of the declaration with the versions that its arms stood for.
    """

    KEY = ("id",)
    id: str
    deployment: str
    state: Literal["running", "decided", "stopped"]
    spec: dict[str, Any]
    digest: str
    arms: list[Arm]
    names: dict[str, int]  # by the name of an arm, its version
    began_at: datetime
    ended_at: datetime | None = None
    winner: int = 0
    reason: str = ""
    statistics: dict[str, Any] = msgspec.field(default_factory=dict)


class Probation(Record, frozen=True, kw_only=True):
    """A champion that has just taken over, judged by its service levels until ``until``.

    ``former`` is the version that a breach returns to; ``statistics`` holds the tests' state at the last look.
    """

    KEY = ("deployment",)
    deployment: str
    version: int
    former: int
    began_at: datetime
    until: datetime
    log_seq: int
    statistics: dict[str, Any] = msgspec.field(default_factory=dict)
