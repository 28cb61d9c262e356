"""Where tracked work comes from, and where it goes: another tracker's files or database, or an export.

What moves is told as records whose ``experiment`` is not known yet; points and files come in pieces, so that neither
side ever holds all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from homeostat.domain.records import ModelVersion, Run
from homeostat.domain.tracking import LoggedModel, LoggedModelMetric, RegisteredModel, RunInput, RunModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

T = TypeVar("T", covariant=True)


class Missing(NamedTuple):
    """Something that does not come over, and why."""

    subject: str
    reason: str


class Columns(NamedTuple):
    """Points of metrics as columns of one length.

    Attributes:
        keys: The names of metrics that ``key`` numbers.
        key: Which of them, from 0.
        value: The values; NaN and the infinities too.
        timestamp: Milliseconds since 1970.
        step: Where on the run's axis.
    """

    keys: Sequence[str]
    key: npt.NDArray[np.uint16]
    value: npt.NDArray[np.float64]
    timestamp: npt.NDArray[np.int64]
    step: npt.NDArray[np.int64]


@dataclass(frozen=True)
class SourceFile:
    """A file: its path relative to its owner's root, its size in bytes, and a way to read it in pieces."""

    path: str
    size: int
    read: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, kw_only=True)
class SourceExperiment:
    """An experiment. ``key`` is how the source's runs name it.

    ``id`` is kept where it is free. ``artifacts`` is a URI where clients find files that nobody here can read; empty
    where the files come over.
    """

    key: str
    name: str
    id: int | None = None
    artifacts: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None
    deleted_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class SourceRun:
    """A run with all that was logged to it.

    ``mark`` are tags by which one that came from here before is told from another of the same id; where another has
    it, this one is called ``spare``. Reading points and files may add to ``missing``.
    """

    run: Run
    experiment: str
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[RunInput] = ()
    models: Sequence[RunModel] = ()
    points: Callable[[], Iterator[Columns]] = lambda: iter(())
    files: Callable[[], Iterator[SourceFile]] = lambda: iter(())
    mark: Mapping[str, str] = field(default_factory=dict)
    spare: str = ""
    missing: list[Missing] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SourceLoggedModel:
    """A logged model with what belongs to it; of metrics the latest points."""

    model: LoggedModel
    experiment: str
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[LoggedModelMetric] = ()
    files: Callable[[], Iterator[SourceFile]] = lambda: iter(())
    missing: list[Missing] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SourceVersion:
    """A version that a client registered."""

    version: ModelVersion
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SourceModel:
    """A registered model with its versions and its aliases."""

    model: RegisteredModel
    tags: Mapping[str, str] = field(default_factory=dict)
    versions: Sequence[SourceVersion] = ()
    aliases: Mapping[str, int] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)


class Item(NamedTuple, Generic[T]):
    """Something that the source has, named for people; loading it may fail without harm to the rest.

    ``load`` raises a HomeostatError where the source is damaged there, or whatever reading that ran into.
    """

    name: str
    load: Callable[[], T]


class Source(Protocol):
    """Reads one place, in constant memory; it never writes there."""

    kind: str
    """What the place is, for people, as in ``MLflow folder``."""

    def experiments(self) -> Iterator[Item[SourceExperiment]]:
        """Every experiment."""

    def count(self) -> int:
        """How many runs there are."""

    def runs(self) -> Iterator[Item[SourceRun]]:
        """Every run, deleted ones too."""

    def logged_models(self) -> Iterator[Item[SourceLoggedModel]]:
        """Every logged model."""

    def models(self) -> Iterator[Item[SourceModel]]:
        """Every registered model."""

    def missing(self) -> Iterable[Missing]:
        """What else is there, and does not come over."""

    def close(self) -> None:
        """Give back files and connections."""


class Sink(Protocol):
    """Takes what a source has. Each call writes all of it or, when it raises, nothing that a reader would take."""

    def experiment(self, given: SourceExperiment) -> None:
        """Take an experiment."""

    def run(self, given: SourceRun) -> None:
        """Take a run, in place of what an earlier export left of it."""

    def logged_model(self, given: SourceLoggedModel) -> None:
        """Take a logged model."""

    def model(self, given: SourceModel) -> None:
        """Take a registered model."""

    def close(self) -> None:
        """Say that nothing more comes."""
