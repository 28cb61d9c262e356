"""Which arm answers a request: in memory, the same for the same key, stable while an arm grows.

A key falls on a point of [0, 1). Canaries and variants take the intervals from 0 to their weights, the champion the
rest: a key that the first of them has stays with it when its weight grows. Shadows take intervals of their own, on
another point of the key, and answer nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from homeostat.domain.records import Role
from homeostat.engine.serving.fallbacks import Rescuer
from homeostat.engine.serving.scorer import Scorer


@dataclass(frozen=True, eq=False)
class LiveArm:
    """A loaded model version with its share of the traffic."""

    version: int
    role: Role
    weight: float
    scorer: Scorer


class Routes:
    """The arms of one deployment; immutable, so that a request sees the old arms or the new, never a mixture.

    Args:
        deployment: Its name.
        arms: Its arms.
        fallbacks: What answers where they cannot, the first that can.

    Raises:
        ValueError: there is not exactly one champion.
    """

    def __init__(self, deployment: str, arms: Sequence[LiveArm], fallbacks: Sequence[Rescuer] = ()) -> None:
        (self.champion,) = (arm for arm in arms if arm.role == "champion")
        self.deployment = deployment
        self.arms = tuple(arms)
        self.fallbacks = tuple(fallbacks)
        self._salt = _salt(deployment)
        self._shadow_salt = _salt(f"{deployment}\0shadow")
        self._others = _intervals(arm for arm in arms if arm.role in ("canary", "variant"))
        self._shadows = _intervals(arm for arm in arms if arm.role == "shadow")

    def point(self, key: str) -> float:
        """Where ``key`` falls in [0, 1): uniform over keys, independent between deployments."""
        return _point(self._salt, key)

    def pick(self, key: str) -> LiveArm:
        """The arm for ``key``."""
        if self._others:
            point = _point(self._salt, key)
            for limit, arm in self._others:
                if point < limit:
                    return arm
        return self.champion

    def shadow(self, key: str, arm: LiveArm) -> LiveArm | None:
        """Who scores a request of ``arm`` once more: the champion that of a canary, a shadow its share of the rest."""
        if arm.role == "canary":
            return self.champion
        if self._shadows:
            point = _point(self._shadow_salt, key)
            for limit, shadow in self._shadows:
                if point < limit:
                    return shadow
        return None


def _salt(text: str) -> blake2b:
    return blake2b(f"{text}\0".encode(), digest_size=8)


def _point(salt: blake2b, key: str) -> float:
    digest = salt.copy()
    digest.update(key.encode("utf-8", "surrogatepass"))
    return (int.from_bytes(digest.digest(), "big") >> 11) / (1 << 53)


def _intervals(arms: Iterable[LiveArm]) -> list[tuple[float, LiveArm]]:
    """Where the interval of each arm ends, one behind the other."""
    out, limit = [], 0.0
    for arm in arms:
        if arm.weight > 0:
            limit += arm.weight
            out.append((limit, arm))
    return out


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
