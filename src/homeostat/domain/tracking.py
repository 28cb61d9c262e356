"""What tracking remembers beside the runs themselves: experiments, and what was logged to a run.

Parameters, tags and the latest value of each metric are a record each, so that runs can be searched by them. The
points of a metric are in blocks, the form in which they came: many in one record, never one record a point.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from homeostat.domain.records import Record

STATUSES: Final[dict[str, str]] = {
    "queued": "SCHEDULED",
    "running": "RUNNING",
    "succeeded": "FINISHED",
    "failed": "FAILED",
    "cancelled": "KILLED",
}
"""How the states of runs are called by MLflow's protocol, whose clients search for them and order by them."""


class Experiment(Record, frozen=True, kw_only=True):
    """A named collection of runs. ``artifacts`` is the URI under which their files are kept."""

    KEY = ("id",)
    id: int
    name: str  # of no other experiment, deleted ones included
    artifacts: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


class ExperimentTag(Record, frozen=True, kw_only=True):
    """A mark on an experiment."""

    KEY = ("experiment", "key")
    experiment: int
    key: str
    value: str


class Param(Record, frozen=True, kw_only=True, gc=False):
    """A parameter of a run, as text; it never changes."""

    KEY = ("run", "key")
    run: str
    key: str
    value: str


class RunTag(Record, frozen=True, kw_only=True, gc=False):
    """A mark on a run."""

    KEY = ("run", "key")
    run: str
    key: str
    value: str


class Metric(Record, frozen=True, kw_only=True, gc=False):
    """The latest point of a metric: that with the greatest ``RANK``, NaN being the least value.

    ``experiment`` is that of the run, here once more so that an index can order the runs of one by a metric.
    """

    KEY = ("run", "key")
    RANK = ("step", "timestamp", "value")
    run: str
    key: str
    experiment: int
    value: float | None  # None: NaN, which the databases do not keep alike; the infinities are kept
    step: int
    timestamp: int  # milliseconds since 1970, as the sender says


class MetricBlock(Record, frozen=True, kw_only=True):
    """Points of one or more metrics of a run: rows of ``homeostat.engine.tracking.points``.

    ``first`` and ``last`` are the least and the greatest of ``keys``, by which a history passes over blocks without
    reading them. ``level`` 0 is as it came; blocks are merged into larger ones of the next level, sorted by key.
    ``pending`` counts the points that wait for that: those in this block and in the ones of level 0 before it.
    """

    KEY = ("run", "seq")
    run: str
    seq: int
    level: int = 0
    count: int
    pending: int = 0
    first: str
    last: str
    keys: list[str]
    payload: bytes


class RunStream(Record, frozen=True, kw_only=True):
    """How far what one process wrote to a run was taken; moved together with what was taken.

    Names of streams sort by when they began. The newest that is not ``joined`` says how the run stands.
    """

    KEY = ("run", "stream")
    run: str
    stream: str
    seq: int  # of the last frame
    joined: bool = False
    at: datetime


class RunInput(Record, frozen=True, kw_only=True):
    """A dataset that a run read. ``digest`` and ``name`` identify it; ``source`` says where it came from.

    ``context`` is what it was read for, ``training`` for example; it is also among the ``tags``.
    """

    KEY = ("run", "name", "digest")
    run: str
    name: str
    digest: str
    source_type: str
    source: str
    schema: str = ""
    profile: str = ""
    context: str = ""
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    place: int = 0  # among those of the run, as they were logged


class ArtifactFile(Record, frozen=True, kw_only=True):
    """A file under an artifact root: its bytes are those of the blobs ``chunks``, one after the other.

    ``root`` is the path of what owns the files, as in ``3/0f4c…/artifacts``; ``path`` is relative to it, with ``/``.
    """

    KEY = ("root", "path")
    root: str
    path: str
    size: int
    chunks: list[str]
    at: datetime


class RegisteredModel(Record, frozen=True, kw_only=True):
    """A name under which model versions are registered, declared in a project or not.

    Whoever makes, labels or removes a version locks this record. ``versions`` is the greatest number given to one, so
    that none is given twice; ``latest`` the greatest of those that are there, by label.
    """

    KEY = ("name",)
    name: str
    description: str = ""
    versions: int = 0
    latest: dict[str, int] = msgspec.field(default_factory=dict)
    created_at: datetime
    updated_at: datetime


class ModelTag(Record, frozen=True, kw_only=True):
    """A mark on a registered model (``version`` 0) or on one of its versions."""

    KEY = ("model", "version", "key")
    model: str
    version: int
    key: str
    value: str


class LoggedModel(Record, frozen=True, kw_only=True):
    """A model that a run logged, registered or not; its files are under the artifact root of its experiment."""

    KEY = ("id",)
    id: str
    experiment: int
    name: str
    type: str = ""
    run: str = ""
    status: str
    status_message: str = ""
    artifacts: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


class LoggedModelTag(Record, frozen=True, kw_only=True):
    """A mark on a logged model."""

    KEY = ("model", "key")
    model: str
    key: str
    value: str


class LoggedModelParam(Record, frozen=True, kw_only=True):
    """A parameter of a logged model, as text."""

    KEY = ("model", "key")
    model: str
    key: str
    value: str


class LoggedModelMetric(Record, frozen=True, kw_only=True, gc=False):
    """A point of a metric about a logged model, on one dataset (empty: on none), by one run."""

    KEY = ("model", "key", "run", "dataset", "digest", "step", "timestamp")
    model: str
    key: str
    run: str
    dataset: str = ""
    digest: str = ""
    value: float | None
    step: int
    timestamp: int

    @property
    def place(self) -> tuple[Any, ...]:
        """What tells it from other points: the values of its key."""
        return tuple(getattr(self, name) for name in self.KEY)


class RunModel(Record, frozen=True, kw_only=True):
    """A logged model that a run read (``input``) or made (``output``), and at which step."""

    KEY = ("run", "model", "role")
    run: str
    model: str
    role: str
    step: int = 0
