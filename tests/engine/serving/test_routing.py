"""Routing is a function of deployment and key; a canary only ever gains keys while it grows."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.app.answers import key_of
from homeostat.engine.serving.routing import LiveArm, Routes, key_text
from tests.engine.serving.fakes import FakeScorer, routes

KEYS = [f"flight-{n}" for n in range(20_000)]


def made(share: float, deployment: str = "flights") -> Routes:
    scorer = FakeScorer()
    return Routes(
        deployment, [LiveArm(1, "champion", 1 - share, scorer), LiveArm(2, "canary", share, scorer)]
    )


@given(
    st.lists(st.text(), min_size=1, max_size=50),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_keys_of_a_canary_stay_with_it_while_it_grows(keys: list[str], one: float, other: float) -> None:
    small, large = made(min(one, other)), made(max(one, other))
    for key in keys:
        if small.pick(key).role == "canary":
            assert large.pick(key).role == "canary"
        assert small.pick(key).version == made(min(one, other)).pick(key).version


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_the_share_of_keys_is_the_weight(share: float) -> None:
    chosen = made(share)
    got = sum(chosen.pick(key).role == "canary" for key in KEYS) / len(KEYS)
    assert got == pytest.approx(share, abs=0.01)
    if share in (0.0, 1.0):
        assert got == share


def test_points_are_uniform_and_independent_between_deployments() -> None:
    here, there = made(0.5, "here"), made(0.5, "there")
    points = [here.point(key) for key in KEYS]
    assert min(points) >= 0
    assert max(points) < 1
    for tenth in range(10):
        assert sum(tenth / 10 <= p < (tenth + 1) / 10 for p in points) == pytest.approx(2000, abs=200)
    both = sum(here.pick(k).role == there.pick(k).role == "canary" for k in KEYS)
    assert both == pytest.approx(5000, abs=300)


def test_many_arms_share_the_keys_by_their_weights() -> None:
    scorer = FakeScorer()
    weights = {1: 0.4, 2: 0.35, 3: 0.25}
    chosen = Routes(
        "flights",
        [LiveArm(v, "champion" if v == 1 else "variant", weight, scorer) for v, weight in weights.items()],
    )
    got = Counter(chosen.pick(key).version for key in KEYS)
    assert {v: got[v] / len(KEYS) for v in weights} == {
        v: pytest.approx(w, abs=0.01) for v, w in weights.items()
    }


def test_a_shadow_sees_its_share_of_what_others_answer_and_answers_nothing() -> None:
    scorer = FakeScorer()
    champion, canary, shadow = (
        LiveArm(1, "champion", 0.5, scorer),
        LiveArm(2, "canary", 0.5, scorer),
        LiveArm(3, "shadow", 0.2, scorer),
    )
    chosen = Routes("flights", [champion, canary, shadow])
    picked = {key: chosen.pick(key) for key in KEYS}
    assert {arm.role for arm in picked.values()} == {"champion", "canary"}
    seen = {key: chosen.shadow(key, arm) for key, arm in picked.items()}
    assert {seen[key] for key, arm in picked.items() if arm is canary} == {champion}
    rest = [seen[key] for key, arm in picked.items() if arm is champion]
    assert set(rest) == {shadow, None}
    assert rest.count(shadow) / len(rest) == pytest.approx(0.2, abs=0.02)
    assert made(0.0).shadow("any", made(0.0).champion) is None


def test_there_is_exactly_one_champion() -> None:
    scorer = FakeScorer()
    with pytest.raises(ValueError, match="not enough"):
        Routes("flights", [LiveArm(1, "canary", 1.0, scorer)])
    assert routes(scorer).pick("any").version == 1


def test_keys_are_written_as_polars_writes_them() -> None:
    moment = datetime(2013, 7, 1, 12, 0, 0, 1500, tzinfo=UTC)
    values = {"s": "a", "i": -3, "f": 1.5, "g": 1e20, "b": True, "t": moment}
    frame = pl.DataFrame({name: [value] for name, value in values.items()})
    assert key_text(list(values.values())) == frame.select(pl.concat_str(pl.all(), separator="|")).item()
    elsewhere = moment.astimezone(timezone(timedelta(hours=5)))
    assert key_text([elsewhere]) == key_text([moment])
    assert key_text(["x", None]) == "x|"
    halves = pl.DataFrame({"a": ["x", None, None], "b": ["y", "z", None]})
    assert halves.select(key_of(["a", "b"])).to_series().to_list() == ["x|y", key_text([None, "z"]), None]
    assert key_text([]) == ""
