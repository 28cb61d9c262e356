"""Days of flights while what runs is killed, the clock jumps and senders are unruly: nothing is lost or doubled."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.chaos import replay

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_nothing_is_lost_or_doubled_by_any_fault(tmp_path: Path) -> None:
    outcome = replay(
        5, tmp_path / "home", days=4, kills=("worker", "control", "supervisor", "job"), workers=1
    )
    assert outcome.wrong == []
    for kind in ("worker", "control", "supervisor"):
        assert outcome.happened[f"kills of a {kind}"] == 1
    assert outcome.happened["predictions"] > 300
    assert outcome.happened["jumps of the clock"] == 2
    assert outcome.happened["steps without a channel"] > 0
