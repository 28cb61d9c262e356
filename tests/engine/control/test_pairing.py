"""However the streams are cut into looks, the differences are the same; and nothing is lost but what is said to be."""

from __future__ import annotations

import json
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.engine.control.pairing import Block, Leftover, blocks, pairs

stream = st.lists(st.tuples(st.integers(0, 8).map(lambda n: n / 8), st.booleans()), max_size=60)
cuts = st.lists(st.integers(0, 60), max_size=5)


def kept(value: Block | Leftover) -> Block | Leftover:
    """As from the store."""
    return msgspec.convert(json.loads(json.dumps(msgspec.to_builtins(value))), type(value))


@given(stream, cuts)
def test_blocks_do_not_depend_on_the_looks(observed: list[tuple[float, bool]], at: list[int]) -> None:
    values, mine = np.array([v for v, _ in observed]), np.array([m for _, m in observed], dtype=bool)
    whole, left = blocks(values, mine, Block())
    edges = [0, *sorted(min(cut, len(observed)) for cut in at), len(observed)]
    begun, parts = Block(), []
    for start, end in pairwise(edges):
        found, begun = blocks(values[start:end], mine[start:end], begun)
        parts += found.tolist()
        begun = kept(begun)  # type: ignore[assignment] # a block stays one
    assert parts == whole.tolist()
    assert begun == left
    assert all(-1 <= value <= 1 for value in parts)


@given(stream, cuts, st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_pairs_do_not_depend_on_the_looks(
    observed: list[tuple[float, bool]], at: list[int], ratio: tuple[int, int]
) -> None:
    def sides(part: list[tuple[float, bool]]) -> tuple[list[float], list[float]]:
        return [v for v, m in part if m], [v for v, m in part if not m]

    whole, left = pairs(*sides(observed), Leftover(), ratio)
    edges = [0, *sorted(min(cut, len(observed)) for cut in at), len(observed)]
    waiting, parts = Leftover(), []
    for start, end in pairwise(edges):
        found, waiting = pairs(*sides(observed[start:end]), waiting, ratio)
        parts += found.tolist()
        waiting = kept(waiting)  # type: ignore[assignment] # leftovers stay leftovers
    assert parts == whole.tolist()
    assert waiting == left
    mine, theirs = sides(observed)
    assert len(whole) == min(len(mine) // ratio[0], len(theirs) // ratio[1])


def test_what_waits_is_bounded() -> None:
    found, left = pairs([0.5] * 20_000, [], Leftover())
    assert len(found) == 0
    assert len(left.mine) == 5_000


def test_a_look_after_every_answer_loses_none() -> None:
    differences, begun = [], Block()
    for value, mine in [(1.0, True), (0.0, False), (0.0, False), (1.0, False), (1.0, True)]:
        found, begun = blocks(np.array([value]), np.array([mine]), begun)
        differences += found.tolist()
    assert differences == [1.0, pytest.approx(0.5)]
