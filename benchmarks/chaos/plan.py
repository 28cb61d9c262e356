"""What goes wrong and when: every kind of fault, at steps that follow from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, Literal

Process = Literal["supervisor", "control", "worker", "spare", "job"]

KILLS: Final[tuple[Process, ...]] = (
    "supervisor",
    "control",
    "control",
    "worker",
    "worker",
    "spare",
    "job",
    "job",
)
"""Who is killed in a fortnight."""
_LEAD: Final = 6  # steps before the first fault: a fault of nothing shows nothing
_DELAYS: Final[dict[Process | None, float]] = {"job": 2.0}
_DELAY: Final = 0.15  # about what the rest of a step takes


@dataclass(frozen=True)
class Step:
    """What goes wrong in one step of the replay.

    Args:
        kill: The process that is killed while the rest of the step happens.
        delay: Seconds into the step, or into its own life if that begins later, at which it is.
        skip: How many steps the clock jumps over; what would have come in them comes afterwards, all at once.
        hold: Whether deliveries are held back from now on; else what was held is sent, in any order.
        twice: Whether what is sent is sent again.
        broken: Whether a delivery comes that breaks its contract.
        channel: Whether the channel of alerts answers.
    """

    kill: Process | None = None
    delay: float = 0.0
    skip: int = 0
    hold: bool = False
    twice: bool = False
    broken: bool = False
    channel: bool = True


def drawn(random: Random, steps: int, kills: tuple[Process, ...] = KILLS) -> list[Step]:
    """A plan for so many steps: each kill once, two jumps, labels held back or sent twice every now and then."""
    places = list(range(_LEAD, steps))
    killed = dict(zip(random.sample(places, len(kills)), kills, strict=True))
    jumps = set(random.sample(places, 2))
    broken = random.randrange(_LEAD, steps * 3 // 4)
    away = range(broken - 1, random.randint(broken + 1, steps))
    holding, plan = False, []
    for place in range(steps):
        holding = place >= _LEAD and random.random() < (0.6 if holding else 0.15)
        plan.append(
            Step(
                kill=killed.get(place),
                delay=random.uniform(0, _DELAYS.get(killed.get(place), _DELAY)),
                skip=random.randint(3, 9) if place in jumps else 0,
                hold=holding,
                twice=random.random() < 0.15,
                broken=place == broken,
                channel=place not in away,
            )
        )
    return plan
