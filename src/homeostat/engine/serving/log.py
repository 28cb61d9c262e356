"""The prediction log: a bounded buffer between answers and the dataset they are kept in.

What does not fit, and a row that no frame can hold, is dropped and counted; what the sink does not take is kept and
offered again. ``append`` and ``prepare`` are called by the event loop, ``flush`` by one background thread at a time.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import msgspec

from homeostat.domain.errors import Conflict
from homeostat.engine.serving.frames import series
from homeostat.engine.serving.predictions import Prediction, message
from homeostat.engine.serving.probabilities import with_probabilities
from homeostat.engine.serving.scorer import Derived, Scored

if TYPE_CHECKING:
    import polars as pl

Sink = Callable[[str, "pl.DataFrame"], object]
CAPACITY: Final = 100_000
CHUNK: Final = 5_000
_SLICE: Final = 500  # rows; 3 ms of work

_log = logging.getLogger(__name__)


class LogCounts(msgspec.Struct, frozen=True):
    """Rows of the log since the process began; ``failures`` counts flushes that the sink refused."""

    buffered: int
    flushed: int
    dropped: int
    failures: int
    error: str


class PredictionLog:
    """Buffers decided predictions of all deployments.

    Args:
        sink: Keeps a frame of one deployment's predictions, or raises.
        capacity: The most rows that are held.
        chunk: The most rows in one frame.
    """

    def __init__(self, sink: Sink, *, capacity: int = CAPACITY, chunk: int = CHUNK) -> None:
        self._sink = sink
        self._capacity = capacity
        self._chunk = chunk
        self._rows: dict[str, deque[Prediction]] = {}
        self._frames: dict[str, deque[pl.DataFrame]] = {}
        self._traced: dict[str, deque[Prediction]] = {}
        self._flushing = Lock()
        self._counting = Lock()
        self._buffered = self._flushed = self._dropped = self._failures = 0
        self._error = ""

    def append(self, deployment: str, item: Prediction) -> None:
        """Keep one prediction, or count it as dropped."""
        with self._counting:
            if self._buffered >= self._capacity:
                self._dropped += 1
                if item.trace is not None:
                    item.trace.logged(False)
                return
            self._buffered += 1
        rows = self._rows.get(deployment)
        if rows is None:
            rows = self._rows[deployment] = deque()
        rows.append(item)
        if item.trace is not None:
            self._traced.setdefault(deployment, deque()).append(item)

    @property
    def due(self) -> bool:
        """Whether a chunk is full and the sink took the last one."""
        return self._buffered >= self._chunk and not self._error

    @property
    def counts(self) -> LogCounts:
        """How the log stands."""
        return LogCounts(self._buffered, self._flushed, self._dropped, self._failures, self._error)

    def prepare(self) -> bool:
        """Frame a slice of what waits, where there is a whole one; says whether it did.

        It is for the event loop: in a thread beside it the same work costs half as much again, and holds up answers
        for longer, since both want the interpreter. Raises nothing.
        """
        if not self._flushing.acquire(blocking=False):
            return False
        deployment = ""
        try:
            for deployment, rows in self._rows.items():
                if len(rows) >= _SLICE:
                    self._frame(deployment, [rows[index] for index in range(_SLICE)])
                    return True
        except Exception as error:  # noqa: BLE001 - the rows are kept
            self._failed(deployment, error)
        finally:
            self._flushing.release()
        return False

    def flush(self) -> int:
        """Offer everything buffered so far to the sink; returns the rows it took. Blocks; raises nothing."""
        with self._flushing:
            return sum(self._flush(deployment) for deployment in list(self._rows))

    def _flush(self, deployment: str) -> int:
        rows, frames = self._rows[deployment], self._frames.setdefault(deployment, deque())
        traced = self._traced.get(deployment, deque())
        taken, told = 0, len(traced)
        try:
            # What waits for its store waits as frames: they take a tenth of the room.
            for _ in range(0, len(rows), self._chunk):
                batch = [rows[index] for index in range(min(len(rows), self._chunk))]
                self._frame(deployment, batch)
            while frames:
                _merge(frames, self._chunk)
                self._sink(deployment, frames[0])
                height = frames.popleft().height
                taken += height
                with self._counting:
                    self._buffered -= height
                    self._flushed += height
                    self._error = ""
            for _ in range(told):
                trace = traced.popleft().trace
                if trace is not None:
                    trace.logged()
        except Exception as error:  # noqa: BLE001 - the rows are kept
            self._failed(deployment, error)
        return taken

    def _frame(self, deployment: str, batch: list[Prediction]) -> None:
        """Turn the oldest rows into a frame, or into several where one cannot hold them."""
        frames = self._framed(deployment, batch)
        self._frames.setdefault(deployment, deque()).extend(frames)
        for _ in batch:
            self._rows[deployment].popleft()

    def _framed(self, deployment: str, batch: list[Prediction]) -> list[pl.DataFrame]:
        """Rows as frames. A batch that cannot be one is parted; a row that can be in none is dropped alone."""
        try:
            return [with_probabilities(to_frame(batch), batch)]
        except Exception as error:  # noqa: BLE001 - whatever a row holds, the others are kept
            if len(batch) > 1:
                return [frame for part in _parted(batch) for frame in self._framed(deployment, part)]
            self._drop(deployment, batch[0], error)
            return []

    def _drop(self, deployment: str, item: Prediction, error: Exception) -> None:
        _log.error("prediction %s of %s cannot be logged: %s", item.id, deployment, message(error))
        with self._counting:
            self._buffered -= 1
            self._dropped += 1
        if item.trace is not None:
            item.trace.logged(False)
            item.trace = None

    def _failed(self, deployment: str, error: Exception) -> None:
        _log.warning("prediction log of %s not stored, kept: %s", deployment, message(error))
        with self._counting:
            self._failures += 1
            self._error = message(error)


def _merge(frames: deque[pl.DataFrame], most: int) -> None:
    """Join small frames at the head, which a store that was away leaves behind."""
    import polars as pl

    head: list[pl.DataFrame] = []
    height = 0
    for frame in frames:
        height += frame.height
        if height > most or not _together(*head, frame):
            break
        head.append(frame)
    if len(head) > 1:
        joined = pl.concat(head, how="diagonal_relaxed")
        for _ in head:  # only now: what cannot be joined stays as it is
            frames.popleft()
        frames.appendleft(joined)


def _parted(batch: list[Prediction]) -> list[list[Prediction]]:
    """The rows of each version that answered, whose features may differ in type; of one version, both halves."""
    versions: dict[int, list[Prediction]] = {}
    for item in batch:
        versions.setdefault(item.answered.version, []).append(item)
    half = len(batch) // 2
    return list(versions.values()) if len(versions) > 1 else [batch[:half], batch[half:]]


def _together(*frames: pl.DataFrame) -> bool:
    """Whether each column has one type in all frames. Else one frame of them would make texts of numbers."""
    import polars as pl

    types: dict[str, pl.DataType] = {}
    return all(
        dtype == types.setdefault(name, dtype)
        for frame in frames
        for name, dtype in frame.schema.items()
        if dtype != pl.Null
    )


_PLACE: Final = "_place"
_encode: Final = msgspec.json.Encoder().encode_lines


def to_frame(items: list[Prediction]) -> pl.DataFrame:
    """Predictions as rows of the log, in order; features and views of any arm are columns, null for the
    others.

    For a request that the champion answered in another arm's place, ``arm`` and ``version`` are that arm's, ``error``
    says why it failed, ``score`` is null, and ``shadow_score`` is what was answered. So it is where a ``fallback``
    answered: ``status`` is then that of the failure, and ``shadow_version`` null where no version answered. ``request``
    is the request as JSON but for the columns that are features by the same name.

    Raises:
        Conflict: a feature has another type with another arm: no one column holds both.
    """
    import polars as pl

    text, whole, number, time = pl.String(), pl.Int64(), pl.Float64(), pl.Datetime("us", "UTC")
    features, requests = _features(items)
    others = [item.shadow if item.answered is item.arm else item.answered for item in items]
    meta: list[tuple[str, list[Any], pl.DataType]] = [
        ("prediction_id", [item.id for item in items], text),
        ("at", [item.at for item in items], time),
        ("time", [item.time for item in items], time),
        ("key", [item.key for item in items], text),
        ("version", [item.arm.version for item in items], whole),
        ("arm", [item.arm.role for item in items], text),
        ("score", [item.score if item.answered is item.arm else None for item in items], number),
        ("shadow_version", [other.version or None if other else None for other in others], whole),
        (
            "shadow_score",
            [item.shadow_score if item.answered is item.arm else item.score for item in items],
            number,
        ),
        ("shadow_error", [message(item.shadow_error) if item.shadow_error else None for item in items], text),
        ("error", [message(item.error) if item.error else None for item in items], text),
        ("status", [item.status for item in items], whole),
        ("fallback", [item.fallback for item in items], text),
        ("latency_us", [item.latency_us for item in items], whole),
        ("scoring_us", [item.scored.scoring_us if item.scored else None for item in items], whole),
        ("request", requests, text),
    ]
    return pl.DataFrame([*(series(*each) for each in meta), *features.get_columns()])


def _features(items: list[Prediction]) -> tuple[pl.DataFrame, list[str]]:
    """Views and features of each item, in the items' order: rows of the batches that they were scored in.

    Beside them what each request holds besides, as JSON.
    """
    import polars as pl

    batches: dict[int, list[int]] = {}
    for place, item in enumerate(items):
        batches.setdefault(id(item.scored), []).append(place)
    # Also what was scored in several batches, where features follow from requests.
    alike: dict[Any, list[int]] = {}
    for batch, places in batches.items():
        scored = items[places[0]].scored
        features = scored.features if scored is not None else None
        alike.setdefault(features.frame if isinstance(features, Derived) else batch, []).extend(places)
    requests = [""] * len(items)
    groups: dict[tuple[Any, ...], list[pl.DataFrame]] = {}
    for places in map(sorted, alike.values()):
        of = [items[place] for place in places]
        frame = _frame(of)
        for place, text in zip(places, _requests(of, frame.columns), strict=True):
            requests[place] = text
        if len(places) == len(items):
            return frame, requests
        if frame.width:
            frame = frame.insert_column(0, pl.Series(_PLACE, places, pl.Int64()))
            groups.setdefault(tuple(frame.schema.items()), []).append(frame)
    if not groups:
        return pl.DataFrame(), requests
    if not _together(*(frames[0] for frames in groups.values())):
        raise Conflict("a feature has not one type", remedy="Frame each version's predictions alone")
    every = pl.DataFrame({_PLACE: range(len(items))}, schema={_PLACE: pl.Int64()})
    found = pl.concat([pl.concat(frames) for frames in groups.values()], how="diagonal_relaxed")
    return every.join(found, on=_PLACE, how="left", maintain_order="left").drop(_PLACE), requests


def _frame(items: list[Prediction]) -> pl.DataFrame:
    """Views and features of items that were scored alike: in one batch, by requests alone, or not at all."""
    import polars as pl

    scored = items[0].scored
    if scored is None:
        return pl.DataFrame()
    if isinstance(scored.features, Derived):
        return scored.features.frame([item.row for item in items])
    rows = [item.index for item in items]
    return pl.DataFrame([*_views(scored, rows), *scored.features[rows].get_columns()])


def _requests(items: list[Prediction], features: list[str]) -> list[str]:
    """What the log holds of each request beside its features, as JSON."""
    rows, known = [item.row for item in items], frozenset(features)
    ways = {kind: _without(kind, known) for kind in set(map(type, rows))}
    return _encode([ways[type(row)](row) for row in rows]).decode().split("\n")[:-1]


def _without(kind: type[msgspec.Struct], known: frozenset[str]) -> Callable[[msgspec.Struct], Any]:
    """Makes of a request what holds the others of its columns."""
    fields = zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
    left = [(name, own) for name, own in fields if name not in known]
    if len(left) == len(kind.__struct_fields__):
        return lambda row: row
    return lambda row: {name: getattr(row, own) for name, own in left}


def _views(scored: Scored, rows: list[int]) -> Iterator[pl.Series]:
    """When what stands behind the features became visible, and in which batch it came, by view."""
    import polars as pl

    for view in scored.as_of:
        as_of, positions = scored.as_of[view], scored.positions[view]
        yield series(f"as_of__{view}", [as_of[row] for row in rows], pl.Datetime("us", "UTC"))
        yield series(f"position__{view}", [positions[row] for row in rows], pl.Int64())
