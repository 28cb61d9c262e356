"""The process that replays one policy: ``python -m homeostat.app.backtest.job FOLDER NUMBER``.

Its result lies in the policy's folder when it is done; else ``failed.json`` says why it is not.
"""

from __future__ import annotations

import fcntl
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from homeostat.app.backtest.plan import read_plan
from homeostat.app.backtest.replay import Replay
from homeostat.domain.errors import HomeostatError

RESULT: Final = "result.json"
FAILED: Final = "failed.json"


class Failed(msgspec.Struct, frozen=True):
    """Why a policy could not be replayed."""

    message: str
    remedy: str


def main(arguments: Sequence[str]) -> int:
    """Replay a policy; 0 when its result is there."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s %(message)s")
    folder = Path(arguments[0])
    plan = read_plan(folder)
    policy = plan.policies[int(arguments[1])]
    home = plan.home(folder, policy)
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # a process of a backtest that was killed may be about to end
        if (home / RESULT).is_file():
            return 0
        try:
            done = Replay(plan, folder, policy).run()
        except HomeostatError as error:
            (home / FAILED).write_bytes(msgspec.json.encode(Failed(error.message, error.remedy)))
            return 1
        fresh = home / f"{RESULT}.part"
        fresh.write_bytes(msgspec.json.encode(done))
        fresh.replace(home / RESULT)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
