"""The datasets that the runs of experiments read, each once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from homeostat.app.container import Container
from homeostat.app.search import search
from homeostat.domain.tracking import RunInput
from homeostat.engine.tracking.kinds import RUNS
from homeostat.ports.meta import Where

CONTEXT_TAG: Final = "mlflow.data.context"
_RUNS: Final = 1000


class DatasetRead(NamedTuple):
    """A dataset that a run of an experiment read; ``context`` says what for, as in ``training``, or is empty."""

    experiment: int
    name: str
    digest: str
    context: str


def datasets_read(container: Container, experiments: Sequence[int], limit: int) -> list[DatasetRead]:
    """The datasets that the newest thousand runs with datasets read, in order of experiment and name.

    Args:
        container: The ports.
        experiments: Whose runs.
        limit: How many at most.
    """
    scope: list[Where] = [("experiment", "in", list(experiments)), ("deleted_at", "=", None)]
    runs = search(container, RUNS, "datasets.name LIKE '%'", scope=scope, limit=_RUNS).items
    of = {run.id: run.experiment for run in runs}
    found = {
        DatasetRead(of[read.run], read.name, read.digest, read.tags.get(CONTEXT_TAG, ""))
        for read in container.store.find(RunInput, ("run", "in", list(of)))
    }
    return sorted(found)[:limit]
