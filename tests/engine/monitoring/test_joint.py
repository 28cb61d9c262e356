"""A classifier's bets: nothing while rows come as in training, whatever the hour; what moves only together is found."""

from __future__ import annotations

import msgspec
import numpy as np
import polars as pl

from homeostat.engine.monitoring.evidence import Evidence, judge, monitor
from homeostat.engine.monitoring.evidence import look as look_apart
from homeostat.engine.monitoring.joint import JOINT, Joint, joint, look, sample
from homeostat.engine.monitoring.joint import judge as judge_joint
from homeostat.engine.monitoring.reference import Reference, profile, reference

ROWS = 400


def rows(rng: np.random.Generator, count: int, hours: tuple[int, int], together: float) -> pl.DataFrame:
    """Two numbers that follow the hour, alike by ``together``, and a text that says nothing."""
    hour = rng.integers(*hours, count)
    a, b = rng.normal(size=(2, count))
    b = together * a + (1 - together**2) ** 0.5 * b
    text = rng.choice(["x", "y"], count)
    return pl.DataFrame({"hour": hour.astype(str), "a": a + hour / 4, "b": b - hour / 4, "text": text})


def trained(rng: np.random.Generator, count: int) -> Reference:
    known = rows(rng, count, (0, 24), 0.2)
    X, seasons = known.drop("hour"), known["hour"]
    return msgspec.structs.replace(reference(X, seasons=seasons), sample=sample(X, seasons))


def looks(test: Joint, rng: np.random.Generator, count: int, together: float) -> list[float]:
    """The evidence after each of some windows, each of another half of the day."""
    evidence, past, found = Evidence(), rows(rng, 0, (0, 24), 0.2), []
    for turn in range(count):
        new = rows(rng, ROWS, (0, 12) if turn % 2 else (12, 24), together)
        evidence, _ = look(test, evidence, past, new, past["hour"], new["hour"])
        found.append(judge_joint(test, evidence).e)
        past = pl.concat([past, new])
    return found


def test_only_what_moves_together_is_found_together() -> None:
    rng = np.random.default_rng(3)
    against = trained(rng, 20_000)
    test = joint(against, ["a", "b", "text"], false_alarm=0.05, looks=365)
    assert not test.refused
    assert max(looks(test, rng, 4, 0.2)) < 1
    assert max(looks(test, rng, 4, 0.8)) >= test.needed
    # Each by itself is as it was.
    alone = monitor(against, ["a", "b", "text"], false_alarm=0.05, looks=365)
    evidence = Evidence()
    for _ in range(4):
        new = rows(rng, ROWS, (0, 24), 0.8)
        evidence = look_apart(alone, evidence, profile(against, new.drop("hour"), new["hour"]))
    assert not judge(alone, evidence).drifted


def test_too_few_rows_for_the_promise_are_refused_with_how_many_it_takes() -> None:
    rng = np.random.default_rng(4)
    few = joint(trained(rng, 1000), ["a", "b"], false_alarm=0.05, looks=365)
    assert few.refused > 1000
    enough = joint(trained(rng, few.refused + 2), ["a", "b"], false_alarm=0.05, looks=365)
    assert not enough.refused
    assert looks(few, rng, 2, 0.9) == [0.0, 0.0]


def test_nothing_is_bet_before_anything_was_learned() -> None:
    rng = np.random.default_rng(5)
    test = joint(trained(rng, 10_000), ["a", "b"], false_alarm=0.05, looks=365)
    new = rows(rng, ROWS, (0, 24), 0.9)
    evidence, area = look(test, Evidence(), new.head(0), new, new["hour"].head(0), new["hour"])
    assert (evidence.looks, evidence.rows, evidence.log.get(JOINT), area) == (1, ROWS, None, None)


def test_a_look_at_one_season_that_training_saw_little_of_proves_nothing() -> None:
    """Of each hour of the week the price has some thirty training rows: an error of theirs is no drift."""
    hours = 168
    for seed in range(2):
        rng = np.random.default_rng(seed)

        def of_hours(count: int, which: list[int], rng: np.random.Generator = rng) -> pl.DataFrame:
            hour, (a, b) = rng.choice(which, count), rng.normal(size=(2, count))
            turn = hour / hours * 2 * np.pi
            return pl.DataFrame({"hour": hour.astype(str), "a": a + np.sin(turn), "b": b - np.cos(turn)})

        known = of_hours(10_000, list(range(hours)))
        X = known.drop("hour")
        against = msgspec.structs.replace(
            reference(X, seasons=known["hour"]), sample=sample(X, known["hour"])
        )
        test = joint(against, ["a", "b"], false_alarm=0.05, looks=8760)
        evidence, past = Evidence(), known.head(0)
        for hour in range(4):
            new = of_hours(3000, [hour])
            evidence, _ = look(test, evidence, past, new, past["hour"], new["hour"])
            assert judge_joint(test, evidence).e < test.needed
            past = new


def test_of_more_numbers_than_a_classifier_is_shown_their_components_and_all_texts_count() -> None:
    rng = np.random.default_rng(8)
    mixing = rng.normal(size=(4, 40))

    def many(count: int, share: float = 0.5) -> pl.DataFrame:
        x = rng.normal(size=(count, 4)) @ mixing + rng.normal(size=(count, 40))
        x[rng.random(x.shape) < 0.02] = np.nan
        text = np.where(rng.random(count) < share, "x", "y")
        return pl.DataFrame({f"n{i}": x[:, i] for i in range(40)} | {"text": text})

    X = many(4000)
    against = msgspec.structs.replace(reference(X), sample=sample(X))
    test = joint(against, X.columns, false_alarm=0.05, looks=365, floor=0.2)
    for share, found in ((0.5, False), (0.9, True)):
        evidence, past = Evidence(), X.head(0)
        for _ in range(2):
            new = many(ROWS, share)
            evidence, _ = look(test, evidence, past, new)
            past = pl.concat([past, new])
        e = judge_joint(test, evidence).e
        assert e >= test.needed if found else e < 1


def test_rows_of_a_season_that_training_never_saw_bet_nothing() -> None:
    rng = np.random.default_rng(9)
    test = joint(trained(rng, 10_000), ["a", "b"], false_alarm=0.05, looks=365)
    past = rows(rng, ROWS, (0, 24), 0.2)
    new = rows(rng, ROWS, (0, 24), 0.9)
    evidence, area = look(test, Evidence(), past, new, past["hour"], pl.Series(["25"] * ROWS))
    assert (evidence.looks, evidence.rows, evidence.log.get(JOINT), area) == (1, ROWS, None, None)
