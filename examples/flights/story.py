"""What happens while the year goes by, as lines: read from the records that change, never from what was meant.

Each look compares the store with the look before, so a line is told once, in the words of the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

import msgspec

from homeostat.app.container import Container
from homeostat.domain.records import Alert, ModelVersion, Rollout, Run

Tone = Literal["good", "bad", "notice"]

INJECTED = "injected"
_LONGEST = 220


class Line(msgspec.Struct, frozen=True):
    """One thing that happened: when, a sign, a word, a sentence; ``injected`` when the demo made it happen."""

    at: datetime
    sign: str
    word: str
    text: str
    tone: Tone = "notice"
    injected: bool = False


class Story:
    """Tells what changed in a store since the last look."""

    def __init__(self, container: Container) -> None:
        self._store = container.store
        self._told: set[tuple[Any, ...]] = set()
        self.canary = 0
        """The version that runs as a canary, 0 for none."""

    def look(self) -> list[Line]:
        """What happened since the last look, in order of time."""
        lines = [*self._runs(), *self._versions(), *self._rollouts(), *self._alerts()]
        return sorted(lines, key=lambda line: line.at)

    def _new(self, *key: Any) -> bool:
        if key in self._told:
            return False
        self._told.add(key)
        return True

    def _runs(self) -> Iterator[Line]:
        for run in self._store.find(Run, order=["created_at"]):
            marked = INJECTED in run.tags
            if self._new("run", run.id):
                yield Line(run.created_at, "▸", "training", f"began: {_brief(run.reason)}", injected=marked)
            if run.state == "failed" and self._new("failed", run.id):
                at = run.ended_at or run.created_at
                yield Line(at, "✗", "failed", _brief(run.error), "bad", marked)

    def _versions(self) -> Iterator[Line]:
        for version in self._store.find(ModelVersion, order=["version"]):
            marked = INJECTED in version.tags
            if version.stage == "rejected" and self._new("rejected", version.version):
                text = f"@{version.version} by {_brief(version.stage_reason)}"
                yield Line(version.created_at, "✗", "rejected", text, "good" if marked else "notice", marked)
            # What became of a canary stands in its rollout; only the first champion had none.
            if version.version == 1 and version.stage == "champion" and self._new("first"):
                yield Line(
                    version.created_at, "★", "champion", f"@1: {_brief(version.stage_reason)}", "good", marked
                )

    def _rollouts(self) -> Iterator[Line]:
        rollouts = self._store.find(Rollout, order=["began_at"])
        self.canary = next((one.candidate for one in rollouts if one.state == "running"), 0)
        for one in rollouts:
            marked = INJECTED in one.tags
            if self._new("canary", one.id):
                text = f"@{one.candidate} answers {one.share:.0%} of the requests, @{one.champion} the others"
                yield Line(one.began_at, "◐", "canary", text, injected=marked)
            if one.state == "running" or not self._new("ended", one.id):
                continue
            seen = f"after {one.requests:,} requests, {one.labelled:,} labelled: {_brief(one.reason)}"
            at = one.ended_at or one.began_at
            if one.state == "promoted":
                yield Line(at, "★", "champion", f"@{one.candidate} {seen}", "good", marked)
            else:
                yield Line(at, "↩", "rolled back", f"@{one.candidate} {seen}", "bad", marked)

    def _alerts(self) -> Iterator[Line]:
        for alert in self._store.find(Alert, order=["opened_at"]):
            marked = INJECTED in alert.tags
            # A roll-back is told as such.
            if alert.key.startswith("rollback:"):
                continue
            if self._new("alert", alert.id):
                text = f"{alert.subject}: {_brief(alert.summary)}; {alert.action}"
                yield Line(alert.opened_at, "!", alert.severity, text, "bad", marked)
            if alert.state == "resolved" and self._new("resolved", alert.id):
                at = alert.resolved_at or alert.opened_at
                yield Line(at, "✓", "resolved", f"{alert.subject}: {_brief(alert.summary)}", "good", marked)


def _brief(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= _LONGEST else one_line[: _LONGEST - 1] + "…"
