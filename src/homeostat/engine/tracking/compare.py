"""In what two runs differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Difference(msgspec.Struct, frozen=True):
    """One thing in which two runs differ; None where one has no such thing.

    Args:
        kind: ``run``, ``param``, ``metric``, ``tag`` or ``input``.
        name: Which.
        a: In the first.
        b: In the second.
    """

    kind: str
    name: str
    a: Any
    b: Any


def differences(kind: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    """What is not the same in ``a`` and ``b``, by name."""
    return [
        Difference(kind, name, a.get(name), b.get(name))
        for name in sorted({*a, *b})
        if (name in a) != (name in b) or a.get(name) != b.get(name)
    ]
