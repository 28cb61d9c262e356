"""A process that replays policies: ``python -m homeostat.app.backtest.job FOLDER [NUMBER…]``.

Without numbers it takes one after another that nobody else replays. The result of a policy lies in its folder when it
is done; else ``failed.json`` says why it is not. Policies that one process replays share what it knows of history: its
rows, and the features of all requests.
"""

from __future__ import annotations

import fcntl
import gc
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from homeostat.app.backtest.memory import Memory
from homeostat.app.backtest.plan import read_plan
from homeostat.app.backtest.policies import NEVER, Policy
from homeostat.app.backtest.replay import Replay
from homeostat.app.backtest.results import is_kept, keep
from homeostat.domain.errors import HomeostatError

FAILED: Final = "failed.json"


class Failed(msgspec.Struct, frozen=True):
    """Why a policy could not be replayed."""

    message: str
    remedy: str


def main(arguments: Sequence[str]) -> int:
    """Replay policies; 0 when the result of each is there."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s %(message)s")
    gc.set_threshold(50_000, 50, 100)  # few of the many objects of a step are in cycles
    folder = Path(arguments[0])
    plan = read_plan(folder)
    memory: Memory | None = None

    def replayed(policy: Policy, *, wait: bool) -> bool:
        """Replay one, with what is known of history; whether it could be."""
        nonlocal memory
        home = plan.home(folder, policy)
        home.mkdir(parents=True, exist_ok=True)
        with (home / "lock").open("ab") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True  # by another
            if is_kept(home):
                return True
            try:
                replay = Replay(plan, folder, policy, memory)
                memory = replay.memory
                gc.collect()
                gc.freeze()  # what all steps share is walked through no more
                done = replay.run()
            except HomeostatError as error:
                (home / FAILED).write_bytes(msgspec.json.encode(Failed(error.message, error.remedy)))
                return False
            keep(home, done)
        return True

    if len(arguments) > 1:
        wanted = [plan.policies[int(number)] for number in arguments[1:]]
    else:
        wanted = _balanced(plan.policies)
        if not all(replayed(policy, wait=False) for policy in wanted):
            return 1
    # A process of a backtest that was killed may be about to end.
    return 0 if all(replayed(policy, wait=True) for policy in wanted) else 1


def _balanced(policies: Sequence[Policy]) -> list[Policy]:
    """The longest first, so that processes end about together: who trains takes two or three times as long as others.

    A detector's replay may be that of another, which is known once that is done: it comes late.
    """
    detecting = [policy for policy in policies if policy.detector]
    frozen = [policy for policy in policies if policy.text == NEVER and not policy.detector]
    ruled = [policy for policy in policies if policy not in (*detecting, *frozen)]
    return [*detecting[:1], *ruled, *detecting[1:], *frozen]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
