"""Chaos: two weeks of flights through a quick model, while everything that can die is killed and senders are unruly.

Which processes are killed and when, where the clock jumps, what is held back, sent twice or in any order, and when the
channel of alerts is away follows from a seed; what else the machine does then decides where exactly a kill strikes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final
from unittest.mock import patch

from benchmarks.chaos.plan import KILLS, Process, drawn
from benchmarks.chaos.play import STEP, Play
from benchmarks.chaos.verdict import wrong
from benchmarks.measure import Line, Section
from examples.flights import data
from examples.flights.replay import Year
from examples.flights.stage import PROJECT, Stage
from tests.app.receiving import SECRET, receiving

START: Final = datetime(2013, 1, 21, 5, tzinfo=UTC)
DAYS: Final = 14
SEEDS: Final = (1, 2, 3)
_EVERY: Final = 8
_FILES: Final = {"project.py": Path(__file__).with_name("project.py"), "year.py": PROJECT["project.py"]}


@dataclass(frozen=True)
class Outcome:
    """What happened in one replay, and what did not hold at its end."""

    happened: Counter[str]
    wrong: list[str]


def sampled() -> Year:
    """One flight in eight, and all of the weather."""
    flights = data.flights().gather_every(_EVERY)
    landings = data.landings().join(flights, on="flight", how="semi", maintain_order="left")
    return Year({"flights": flights, "landings": landings, "weather": data.weather()})


def replay(
    seed: int, home: Path, *, days: int = DAYS, kills: tuple[Process, ...] = KILLS, workers: int = 2
) -> Outcome:
    """One replay in a home of its own.

    Args:
        seed: Of the plan.
        home: Its folder.
        days: How long it is.
        kills: Who is killed in it.
        workers: How many model servers there are.

    Raises:
        HomeostatError: something did not come to its end.
    """
    random = Random(seed)
    steps = drawn(random, timedelta(days=days) // STEP, kills)
    with (
        receiving() as receiver,
        patch.dict(os.environ, {"HOMEOSTAT_CHANNEL_OPS_SECRET": SECRET}),
        Stage(
            home, START, _FILES, channels=f"ops webhook {receiver.url} severity=page", workers=workers
        ) as stage,
    ):
        play = Play(stage, sampled(), receiver, random)
        play.begin()
        for step in steps:
            play.step(step)
        play.calm(12)
        play.happened["predictions"] = len(play.answered)
        return Outcome(play.happened, wrong(stage, play, receiver, random))


def run() -> Section:
    """Several seeds."""
    with TemporaryDirectory() as folder:
        outcomes = [replay(seed, Path(folder) / str(seed)) for seed in SEEDS]
    return section(SEEDS, DAYS, outcomes)


def section(seeds: Sequence[int], days: int, outcomes: Sequence[Outcome]) -> Section:
    """What happened in replays, and what did not hold at their ends."""
    total = sum((one.happened for one in outcomes), Counter[str]())
    named = " ".join(map(str, seeds))
    return Section(
        "Chaos",
        f"{days} days of flights with other faults for each seed, {datetime.now(UTC):%Y-%m-%d}: "
        f"`python -m benchmarks.chaos {named} --days {days}`. Afterwards every row, answer, label, training and alert "
        "is there once, but for answers of a model server's last second; rows that break their contract are set aside "
        "once; the ledger verifies; what runs is what is declared; answers can be computed again.",
        [
            *(Line(what, str(count)) for what, count in sorted(total.items())),
            Line(
                "what does not hold",
                "; ".join(
                    f"seed {seed}: {what}"
                    for seed, one in zip(seeds, outcomes, strict=True)
                    for what in one.wrong
                )
                or "nothing",
            ),
        ],
    )
