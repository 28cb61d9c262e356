"""Which trainings begin next: so many at once, and each model in its turn.

Of those that wait, the next is of the model that has the fewest under way, then of the one whose last training began
the longest ago, then the oldest. So many trainings of one model hold up no other for longer than one of them takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from homeostat.app.container import Container
from homeostat.app.freezing import frozen
from homeostat.app.space import cramped
from homeostat.domain.records import Run
from homeostat.ports.executor import JobState
from homeostat.ports.meta import Where

_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


def next_up(container: Container, jobs: Mapping[str, JobState]) -> list[Run]:
    """The trainings that are to begin now, in their order.

    Args:
        container: The ports.
        jobs: How the jobs of the executor stand, by name.
    """
    store = container.store
    waiting = store.find(Run, ("kind", "=", "train"), ("state", "=", "queued"), order=["created_at", "id"])
    if not waiting or cramped(container):
        return []
    under_way = {run.id: run.model for run in waiting if jobs.get(f"train.{run.id}") == "running"}
    for run in store.find(Run, ("kind", "=", "train"), ("state", "=", "running")):
        under_way[run.id] = run.model
    free = container.settings.trainings - len(under_way)
    waiting = [run for run in waiting if run.id not in under_way and frozen(container, run.model) is None]
    busy, begun = Counter(under_way.values()), {}
    for model in {run.model for run in waiting}:
        of: list[Where] = [("kind", "=", "train"), ("model", "=", model), ("started_at", ">", _NEVER)]
        last = store.find(Run, *of, order=["-started_at"], limit=1)
        begun[model] = (last[0].started_at if last else None) or _NEVER
    chosen: list[Run] = []
    while waiting and len(chosen) < free:
        run = min(waiting, key=lambda one: (busy[one.model], begun[one.model], one.created_at, one.id))
        waiting.remove(run)
        busy[run.model] += 1
        chosen.append(run)
    return chosen
