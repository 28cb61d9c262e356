"""Against what metrics are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.domain.errors import BadRequest
from homeostat.engine.tracking import axes
from homeostat.engine.tracking.points import History

Pairs = list[tuple[int, int, float]]
pairs = st.lists(st.tuples(st.integers(0, 20), st.integers(-5, 5), st.floats(-9, 9)), max_size=12).map(sorted)


def history(points: Pairs) -> History:
    columns = np.array(points, dtype=float).reshape(-1, 3)
    return History(columns[:, 0].astype(np.int64), columns[:, 1].astype(np.int64), columns[:, 2])


@given(pairs, pairs)
def test_a_point_lies_at_the_last_value_that_the_axis_had_at_its_step(points: Pairs, axis: Pairs) -> None:
    found = axes.positions(history(points), history(axis))
    for (_, step, _), at in zip(points, found.tolist(), strict=True):
        before = [(other, place) for place, (_, other, _) in enumerate(axis) if other <= step]
        assert at == axis[max(before)[1]][2] if before else np.isnan(at)


def test_the_longest_name_counts() -> None:
    tags = axes.tags_of("time") | axes.tags_of({"val": "epoch", "val/slow": "step"})
    metrics = ("loss", "val", "val/loss", "val.a", "val/slow/x", "value")
    assert [axes.axis_of(tags, one) for one in metrics] == ["time", "epoch", "epoch", "epoch", "step", "time"]
    assert axes.axis_of({}, "loss") == "step"


@pytest.mark.parametrize("given_axes", [{"val/*": "epoch"}, {"val": "../x"}, "", {"a": "b" * 300}])
def test_names_that_cannot_be(given_axes: dict[str, str] | str) -> None:
    with pytest.raises(BadRequest):
        axes.tags_of(given_axes)
