"""Walking the ledger's edges from one reference, each thing told once."""

from __future__ import annotations

from typing import Any, Final, Literal

from homeostat.ports.ledger import Ledger

DEPTH: Final = 12


def walk(
    ledger: Ledger, ref: str, side: Literal["up", "down"], *, depth: int = DEPTH
) -> list[dict[str, Any]]:
    """What ``ref`` came from (up) or what came of it (down), as a tree of ``{ref, role, up|down}``.

    A thing that was told already stands there without its own branches.

    Args:
        ledger: Where the edges are.
        ref: Where to start.
        side: Which way.
        depth: How many edges away to look.
    """
    return _walk(ledger, ref, side, {ref}, depth)


def _walk(
    ledger: Ledger, ref: str, side: Literal["up", "down"], told: set[str], depth: int
) -> list[dict[str, Any]]:
    branches = []
    for edge in ledger.edges(ref, side):
        other = edge.source if side == "up" else edge.target
        node: dict[str, Any] = {"ref": other, "role": edge.role}
        if other not in told and depth > 1:
            told.add(other)
            node[side] = _walk(ledger, other, side, told, depth - 1)
        branches.append(node)
    return branches
