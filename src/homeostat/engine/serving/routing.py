"""Which arm answers a request: in memory, the same for the same key, stable while a canary grows.

A key falls on a point of [0, 1). Canaries take the interval from 0 to their weight, the champion the rest: a
key that a canary has stays with it when its weight grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Literal

from homeostat.engine.serving.scorer import Scorer


@dataclass(frozen=True, eq=False)
class LiveArm:
    """A loaded model version with its share of the traffic."""

    version: int
    role: Literal["champion", "canary"]
    weight: float
    scorer: Scorer


class Routes:
    """The arms of one deployment; immutable, so that a request sees the old arms or the new, never a mixture.

    Raises:
        ValueError: there is not exactly one champion.
    """

    def __init__(self, deployment: str, arms: Sequence[LiveArm]) -> None:
        (self.champion,) = (arm for arm in arms if arm.role == "champion")
        self.arms = tuple(arms)
        self._salt = blake2b(f"{deployment}\0".encode(), digest_size=8)
        self._canaries: list[tuple[float, LiveArm]] = []
        limit = 0.0
        for arm in arms:
            if arm.role == "canary" and arm.weight > 0:
                limit += arm.weight
                self._canaries.append((limit, arm))

    def point(self, key: str) -> float:
        """Where ``key`` falls in [0, 1): uniform over keys, independent between deployments."""
        digest = self._salt.copy()
        digest.update(key.encode("utf-8", "surrogatepass"))
        return (int.from_bytes(digest.digest(), "big") >> 11) / (1 << 53)

    def pick(self, key: str) -> LiveArm:
        """The arm for ``key``."""
        if self._canaries:
            point = self.point(key)
            for limit, arm in self._canaries:
                if point < limit:
                    return arm
        return self.champion


def key_text(values: Sequence[Any]) -> str:
    """Key columns joined by "|", each as Polars casts it to a string, so that rows can be joined by it."""
    if len(values) == 1 and type(values[0]) is str:
        return str(values[0])
    return "|".join(_text(value) for value in values)


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.astimezone(UTC).isoformat(sep=" ", timespec="microseconds")
        case _:
            return str(value)
