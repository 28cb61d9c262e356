"""Reading what was logged: of many runs at once, in a few statements, and the history of a metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from homeostat.app.container import Container
from homeostat.app.tracking.runs import run
from homeostat.domain.tracking import Metric, MetricBlock, Param, RunInput, RunModel, RunTag
from homeostat.ports.meta import Where

if TYPE_CHECKING:
    from homeostat.engine.tracking.points import History

_TOGETHER: Final = 5000  # runs in one statement
_TEXT: Final = ("run", "key", "value")  # of a parameter or a tag
_POINT: Final = ("run", "key", "value", "timestamp", "step")
_key = attrgetter("key")
_BLOCKS: Final = 64  # blocks at once: a megabyte or several


class Latest(NamedTuple):
    """The latest point of a metric."""

    key: str
    value: float | None
    timestamp: int
    step: int


@dataclass
class RunData:
    """What was logged to a run. ``metrics`` are the latest points; ``models`` what it read and made."""

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[Latest] = field(default_factory=list)
    inputs: list[RunInput] = field(default_factory=list)
    models: list[RunModel] = field(default_factory=list)


class Logged(NamedTuple):
    """What was logged to runs, in no order. Rows begin with the run and the key."""

    params: Sequence[tuple[str, str, str]]
    tags: Sequence[tuple[str, str, str]]
    metrics: Sequence[tuple[str, str, float | None, int, int]]  # the latest value, its timestamp and step
    inputs: list[RunInput]
    models: list[RunModel]


def logged(container: Container, ids: Sequence[str]) -> Iterator[Logged]:
    """What was logged to runs as it is kept, of so many at once as the database takes."""
    store = container.store
    for begin in range(0, len(ids), _TOGETHER):
        some: Where = ("run", "in", ids[begin : begin + _TOGETHER])
        yield Logged(
            cast("Any", store.pick(Param, _TEXT, some)),
            cast("Any", store.pick(RunTag, _TEXT, some)),
            cast("Any", store.pick(Metric, _POINT, some)),
            sorted(store.find(RunInput, some), key=lambda one: one.place),
            store.find(RunModel, some),
        )


def run_data(container: Container, ids: Iterable[str]) -> dict[str, RunData]:
    """What was logged to runs, by id; a run to which nothing was logged has an empty entry."""
    found = {id: RunData() for id in ids}
    for part in logged(container, list(found)):
        for id, key, text in part.params:
            found[id].params[key] = text
        for id, key, text in part.tags:
            found[id].tags[key] = text
        for id, key, value, timestamp, step in part.metrics:
            found[id].metrics.append(Latest(key, value, timestamp, step))
        for read in part.inputs:
            found[read.run].inputs.append(read)
        for model in part.models:
            found[model.run].models.append(model)
    for data in found.values():
        data.metrics.sort(key=_key)
    return found


def history(container: Container, run_id: str, key: str) -> History:
    """All points of a metric, in order of (timestamp, step, value); empty when none was logged.

    Raises:
        NotFound: there is no such run.
    """
    from homeostat.engine.tracking import blocks

    run(container, run_id)
    where: tuple[Where, ...] = (("run", "=", run_id), ("first", "<=", key), ("last", ">=", key))
    return blocks.history(container.store.find(MetricBlock, *where), key)


def histories(
    container: Container, run_id: str, keys: Iterable[str], most: int
) -> Iterator[tuple[list[str], list[History]]]:
    """All points of metrics, as ``history`` has them, of many metrics in one reading.

    Reading the metrics one by one would read the blocks that many of them share once for each.

    Args:
        container: The ports.
        run_id: The run.
        keys: Which metrics.
        most: How many points to hold at once; a metric that has more is held alone.

    Yields:
        Some of the metrics, in order of their names, and the history of each.
    """
    from homeostat.engine.tracking import blocks

    def of(some: list[str]) -> list[History]:
        # In one statement: blocks may be merged at any time.
        return blocks.histories(container.store.find(MetricBlock, *_holding(run_id, some)), some)

    counts = dict.fromkeys(sorted(keys), 0)
    for block in _paged(container, run_id, list(counts)):
        for key, count in zip(block.keys, blocks.counts(block).tolist(), strict=True):
            if key in counts:
                counts[key] += count
    some: list[str] = []
    held = 0
    for key, count in counts.items():
        if some and held + count > most:
            yield some, of(some)
            some, held = [], 0
        some.append(key)
        held += count
    if some:
        yield some, of(some)


def _paged(container: Container, run_id: str, keys: list[str]) -> Iterator[MetricBlock]:
    """The blocks of metrics, of which some may be missed or seen twice while the run goes on."""
    last = -1
    while keys:
        beyond: Where = ("seq", ">", last)
        found = container.store.find(
            MetricBlock, *_holding(run_id, keys), beyond, order=["seq"], limit=_BLOCKS
        )
        yield from found
        if len(found) < _BLOCKS:
            return
        last = found[-1].seq


def _holding(run_id: str, keys: list[str]) -> tuple[Where, ...]:
    """Conditions for blocks that may hold points of metrics, whose names are in order."""
    return ("run", "=", run_id), ("first", "<=", keys[-1]), ("last", ">=", keys[0])
