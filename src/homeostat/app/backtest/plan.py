"""What is backtested: a model, a span of history, the policies. Kept in a file, by which a backtest is resumed."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from homeostat.app.backtest.policies import Policy
from homeostat.domain.digests import digest_of

FILE: Final = "plan.json"
_WEEK: Final = timedelta(days=7)
_SPANS: Final = 40


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A backtest.

    Args:
        project: The name of the project's folder.
        file: Of the file in it that declares.
        code: The digest of its files.
        history: The digest of the rows.
        model: Which model.
        start: When the first model is trained; later requests are answered.
        end: When nobody asks any more.
        step: How much time goes by between two turns of the controller.
        rest: After a training, how long a detector's findings wait for the next: the project's cooldown.
        policies: Whose rules.
    """

    project: str
    file: str
    code: str
    history: str
    model: str
    start: datetime
    end: datetime
    step: timedelta
    rest: timedelta
    policies: tuple[Policy, ...]

    @property
    def name(self) -> str:
        """What tells this plan from others."""
        return digest_of(msgspec.to_builtins(self))[7:19]

    @property
    def span(self) -> timedelta:
        """The time over which quality is shown as one number: a week, of a short history less."""
        return min(_WEEK, (self.end - self.start) / _SPANS)

    def home(self, folder: Path, policy: Policy) -> Path:
        """The folder of a policy."""
        number = self.policies.index(policy)
        return folder / "policies" / f"{number:02d}-{re.sub('[^A-Za-z0-9]+', '-', policy.name)}"


def read_plan(folder: Path) -> Plan:
    """The plan that a folder holds."""
    return msgspec.json.decode((folder / FILE).read_bytes(), type=Plan)
