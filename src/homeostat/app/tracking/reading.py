"""Reading what was logged: of many runs at once, in a few statements, and the history of a metric."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from homeostat.app.container import Container
from homeostat.app.tracking.runs import run
from homeostat.domain.tracking import Metric, MetricBlock, Param, RunInput, RunModel, RunTag
from homeostat.engine.tracking import blocks
from homeostat.engine.tracking.points import History
from homeostat.ports.meta import Where

_TOGETHER: Final = 5000  # runs in one statement


@dataclass
class RunData:
    """What was logged to a run. ``metrics`` are the latest points; ``models`` what it read and made."""

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    inputs: list[RunInput] = field(default_factory=list)
    models: list[RunModel] = field(default_factory=list)


def run_data(container: Container, ids: Iterable[str]) -> dict[str, RunData]:
    """What was logged to runs, by id; a run to which nothing was logged has an empty entry."""
    found = {id: RunData() for id in ids}
    wanted = list(found)
    store = container.store
    for begin in range(0, len(wanted), _TOGETHER):
        some: Where = ("run", "in", wanted[begin : begin + _TOGETHER])
        for param in store.find(Param, some):
            found[param.run].params[param.key] = param.value
        for tag in store.find(RunTag, some):
            found[tag.run].tags[tag.key] = tag.value
        for metric in store.find(Metric, some):
            found[metric.run].metrics.append(metric)
        for read in store.find(RunInput, some):
            found[read.run].inputs.append(read)
        for model in store.find(RunModel, some):
            found[model.run].models.append(model)
    return found


def history(container: Container, run_id: str, key: str) -> History:
    """All points of a metric, in order of (timestamp, step, value); empty when none was logged.

    Raises:
        NotFound: there is no such run.
    """
    run(container, run_id)
    where: tuple[Where, ...] = (("run", "=", run_id), ("first", "<=", key), ("last", ">=", key))
    return blocks.history(container.store.find(MetricBlock, *where), key)
