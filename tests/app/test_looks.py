"""Looking at what is new gives what reading everything again gives, whatever comes in which order, restarts and all."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.app import looks, reading
from homeostat.app.container import Container
from homeostat.app.datasets import append_log, seal
from homeostat.app.looks import OUTCOME, Look, Source, look, start
from homeostat.app.outcomes import labels_of, log_of
from homeostat.app.reading import read_since
from homeostat.app.settings import Settings

NAMES = (f"shop{number}" for number in count())
KEYS = st.integers(0, 4)
STEPS = st.one_of(
    st.tuples(
        st.just("ask"),
        st.lists(st.tuples(KEYS, st.sampled_from(["champion", "canary"])), min_size=1, max_size=4),
    ),
    st.tuples(
        st.just("order"), st.lists(st.tuples(KEYS, st.integers(0, 9) | st.none()), min_size=1, max_size=3)
    ),
    st.tuples(
        st.just("label"), st.lists(st.tuples(st.integers(0, 9), st.integers(10, 19)), min_size=1, max_size=3)
    ),
    st.tuples(st.just("look"), st.none()),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("seal"), st.none()),
)


class World:
    """What was asked and answered, and which outcomes have been counted, by plain lists."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.orders: dict[str, float] = {}
        self.labels: dict[str, float] = {}
        self.shown = 0
        self.counted: set[str] = set()

    def expected(self) -> tuple[list[str], dict[str, float]]:
        """The ids that are new, and the outcomes that are."""
        fresh = [id for id, _, _ in self.asked[self.shown :]]
        self.shown = len(self.asked)
        outcomes = {}
        for id, key, arm in self.asked:
            found = self.labels.get(id, self.orders.get(key))
            if arm == "canary" and found is not None and id not in self.counted:
                outcomes[id] = found
        self.counted |= set(outcomes)
        return fresh, outcomes


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    with Container(Settings(home=tmp_path_factory.mktemp("home"))) as made:
        yield made


def put(container: Container, dataset: str, **columns: list[Any]) -> None:
    append_log(container, dataset, pl.DataFrame(columns, strict=False))


def looked(container: Container, shop: str, source: Source, seen: dict[str, int]) -> Look:
    arm = pl.col("arm")
    fresh = arm.is_in(["champion", "canary"])
    return look(container, shop, source, seen, ["arm"], judged=arm == "canary", fresh=fresh)


@settings(max_examples=25)
@given(st.lists(STEPS, max_size=14))
def test_looking_at_what_is_new_is_looking_at_all_of_it(
    container: Container, steps: list[tuple[str, Any]]
) -> None:
    shop = next(NAMES)
    orders = f"{shop}.orders"
    source = Source(orders, pl.col("spent"), ["id"])
    put(container, log_of(shop), prediction_id=["before"], key=["0"], arm=["canary"])
    put(container, orders, id=["0"], spent=[99.0])
    put(container, labels_of(shop), prediction_id=["before"], label=[99.0])
    seen, world = start(container, shop, source), World()
    for what, rows in [*steps, ("look", None), ("restart", None), ("look", None)]:
        if what == "ask":
            ids = [f"p{len(world.asked) + n}" for n in range(len(rows))]
            keys, arms = [str(key) for key, _ in rows], [arm for _, arm in rows]
            put(container, log_of(shop), prediction_id=ids, key=keys, arm=arms)
            world.asked += zip(ids, keys, arms, strict=True)
        elif what == "order":
            spent = [None if value is None else float(value) for _, value in rows]
            put(container, orders, id=[str(key) for key, _ in rows], spent=spent)
            for (key, _), value in zip(rows, spent, strict=True):
                if value is not None:
                    world.orders.setdefault(str(key), value)
        elif what == "label":
            ids, values = [f"p{number}" for number, _ in rows], [float(value) for _, value in rows]
            put(container, labels_of(shop), prediction_id=ids, label=values)
            for id, value in zip(ids, values, strict=True):
                world.labels.setdefault(id, value)
        elif what == "seal":
            for dataset in (log_of(shop), orders, labels_of(shop)):
                seal(container, dataset)
        elif what == "restart":
            looks._KNOWN.clear()  # as a new process has it
        else:
            found = looked(container, shop, source, seen)
            fresh = found.fresh["prediction_id"].to_list() if found.fresh.width else []
            outcomes = found.outcomes.select("prediction_id", OUTCOME).rows() if found.outcomes.width else []
            assert (fresh, dict(outcomes)) == world.expected()
            seen = found.seen


def test_the_label_by_id_counts_before_that_by_key(container: Container) -> None:
    shop = next(NAMES)
    source = Source(f"{shop}.orders", pl.col("spent"), ["id"])
    seen = start(container, shop, source)
    put(container, log_of(shop), prediction_id=["p", "q"], key=["1", "2"], arm=["canary"] * 2)
    put(container, f"{shop}.orders", id=["1", "2"], spent=[5.0, 7.0])
    put(container, labels_of(shop), prediction_id=["p"], label=[1.0])
    found = looked(container, shop, source, seen).outcomes
    assert sorted(found.select("prediction_id", OUTCOME).rows()) == [("p", 1.0), ("q", 7.0)]


def test_of_many_that_wait_all_of_the_newest_and_ever_fewer_of_the_older_are_counted(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "_WAITING", 200)
    monkeypatch.setattr(looks, "_NEWEST", 50)
    monkeypatch.setattr(looks, "_LONGEST", 4000)
    monkeypatch.setattr(reading, "LARGE", 300)  # several parts, where much is read
    shop = next(NAMES)
    source = Source(f"{shop}.orders", pl.col("spent"), ["id"])
    put(container, f"{shop}.orders", id=["none"], spent=[1.0])
    seen, asked = start(container, shop, source), 6000
    for first in range(0, asked, 100):
        ids = [str(place) for place in range(first, first + 100)]
        put(container, log_of(shop), prediction_id=ids, key=ids, arm=["canary"] * 100)
        if first % 500 == 0:
            seal(container, log_of(shop))
            found = looked(container, shop, source, seen)
            assert found.fresh.height == (100 if first == 0 else 500)
            seen = found.seen
    answered = [str(place) for place in range(0, asked, 2)]
    for first in range(0, len(answered), 500):
        part = answered[first : first + 500]
        put(container, f"{shop}.orders", id=part, spent=[2.0] * len(part))
        seal(container, f"{shop}.orders")
    counted = [int(one) for one in looked(container, shop, source, seen).outcomes["key"].to_list()]
    looks._KNOWN.clear()  # as a new process has it
    after = looked(container, shop, source, seen)
    assert [int(one) for one in after.outcomes["key"].to_list()] == counted
    assert set(range(5950, 6000, 2)) <= set(counted)
    assert {one % 2 for one in counted} == {0}
    assert min(counted) >= 6000 - 4000 - 500, "of what came before, at the last look, none stays"
    older = sum(one < 4000 for one in counted)
    newer = sum(one >= 4000 for one in counted)
    # In expectation, of every second request: 50 times ln 2; and 50 times 1 + ln 40, a half of that.
    assert (5 <= older <= 40, 70 <= newer <= 180) == (True, True), (older, newer)
    put(container, f"{shop}.orders", id=answered[-500:], spent=[3.0] * 500)
    assert not looked(container, shop, source, after.seen).outcomes.height, "each is counted once"


def test_a_restart_forgets_none_of_few_that_wait_among_many_that_were_answered(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "_WAITING", 200)
    monkeypatch.setattr(looks, "_NEWEST", 20)
    shop = next(NAMES)
    source = Source(f"{shop}.orders", pl.col("spent"), ["id"])
    put(container, f"{shop}.orders", id=["none"], spent=[1.0])
    seen = start(container, shop, source)
    waits = [str(place) for place in range(0, 1500, 15)]
    for first in range(0, 1500, 150):
        ids = [str(place) for place in range(first, first + 150)]
        put(container, log_of(shop), prediction_id=ids, key=ids, arm=["canary"] * 150)
        known = [id for id in ids if id not in waits]
        put(container, f"{shop}.orders", id=known, spent=[2.0] * len(known))
        seen = looked(container, shop, source, seen).seen
    looks._KNOWN.clear()  # as a new process has it
    put(container, f"{shop}.orders", id=waits, spent=[2.0] * len(waits))
    assert looked(container, shop, source, seen).outcomes["key"].to_list() == waits


def test_an_answer_that_many_came_after_is_known_to_a_request_by_chance(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "_WAITING", 200)
    monkeypatch.setattr(looks, "_NEWEST", 50)
    shop = next(NAMES)
    source = Source(f"{shop}.orders", pl.col("spent"), ["id"])
    put(container, f"{shop}.orders", id=["none"], spent=[1.0])
    seen = start(container, shop, source)
    put(container, log_of(shop), prediction_id=["first"], key=["waits"], arm=["canary"])
    for first in range(0, 3000, 300):
        keys = [str(place) for place in range(first, first + 300)]
        put(container, f"{shop}.orders", id=keys, spent=[2.0] * 300)
        seen = looked(container, shop, source, seen).seen
    put(container, f"{shop}.orders", id=["waits"], spent=[5.0])
    keys = [str(place) for place in range(3000)]
    put(container, log_of(shop), prediction_id=keys, key=keys, arm=["canary"] * 3000)
    found = looked(container, shop, source, seen).outcomes
    counted = set(found["key"].to_list())
    assert {"waits", *map(str, range(2951, 3000))} <= counted
    assert 100 <= len(counted) <= 450  # 50 times 1 + ln 60, beside what came since it was last made lighter


def test_requests_that_came_too_early_are_forgotten_and_nothing_is_read_again(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = next(NAMES)
    source = Source(f"{shop}.orders", pl.col("spent"), ["id"])
    put(container, log_of(shop), prediction_id=["old", "older"], key=["1", "2"], arm=["canary"] * 2)
    seen = looked(container, shop, source, start(container, shop, None) | {"log_from": 0, "log_seq": 0}).seen
    put(container, log_of(shop), prediction_id=["new"], key=["3"], arm=["canary"])
    late = seen | {"log_from": seen["log_seq"]}
    put(container, f"{shop}.orders", id=["1", "3"], spent=[5.0, 7.0])
    read: list[int] = []

    def recorded(
        container: Container, dataset: str, after: int, columns: Any, **upto: int | None
    ) -> pl.DataFrame:
        read.append(after)
        return read_since(container, dataset, after, columns, **upto)

    monkeypatch.setattr(looks, "read_since", recorded)
    found = looked(container, shop, source, late)
    assert found.outcomes.select("prediction_id", OUTCOME).rows() == [("new", 7.0)]
    assert read == [late[f"{name}_seq"] for name in ("log", "label", "id")]
    looks._KNOWN.clear()  # as a new process has it
    again = looked(container, shop, source, late)
    assert again.outcomes.select("prediction_id", OUTCOME).rows() == [("new", 7.0)]
    assert again.seen == found.seen


def test_two_that_look_at_different_times_read_nothing_again(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = next(NAMES)
    source, arm = Source(f"{shop}.orders", pl.col("spent"), ["id"]), pl.col("arm")
    put(container, log_of(shop), prediction_id=["first"], key=["1"], arm=["canary"])
    seen = dict.fromkeys(("early", "late"), start(container, shop, None) | {"log_from": 0, "log_seq": 0})
    read: list[int] = []

    def recorded(
        container: Container, dataset: str, after: int, columns: Any, **upto: int | None
    ) -> pl.DataFrame:
        read.append(after)
        return read_since(container, dataset, after, columns, **upto)

    def looks_again(by: str) -> Look:
        found = look(container, shop, source, seen[by], ["arm"], judged=arm == "canary", by=by)
        seen[by] = found.seen
        return found

    for by in seen:
        looks_again(by)
    put(container, log_of(shop), prediction_id=["second"], key=["2"], arm=["canary"])
    seen["late"] = seen["late"] | {"log_from": seen["late"]["log_seq"]}  # it has forgotten the first
    put(container, f"{shop}.orders", id=["1", "2"], spent=[5.0, 7.0])
    monkeypatch.setattr(looks, "read_since", recorded)
    begun = seen["early"]
    both = [looks_again(by).outcomes["prediction_id"].to_list() for by in ("early", "late")]
    assert both == [["first", "second"], ["second"]]
    assert read == [begun[f"{name}_seq"] for name in ("log", "label", "id")] * 2
