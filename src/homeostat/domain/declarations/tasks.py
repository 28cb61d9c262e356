"""Tasks: what a model is asked. Each kind knows its metrics, the loss its versions are compared by, and its labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from homeostat.domain import metrics
from homeostat.domain.declarations.data import Dataset
from homeostat.domain.digests import source_digest
from homeostat.domain.errors import DeclarationError
from homeostat.domain.metrics import HIGHER_IS_BETTER, Metric

Class = str | int | bool


@dataclass(frozen=True)
class Task(ABC):
    """A question whose answer comes later.

    Args:
        label: The column of ``source`` that answers it.
        source: The dataset the label arrives in; a row's label is known from the row's own time on.
        request: The dataset whose rows ask; by default ``source`` itself. Rows meet by the key of ``request``.
        metrics: Metrics of the project's own besides those of the task, as ``@hs.metric`` makes them.
    """

    type: ClassVar[str] = "task"
    """How its labels and answers look: several kinds of task may look the same."""
    METRICS: ClassVar[tuple[str, ...]] = ()

    label: str
    source: Dataset
    request: Dataset = cast("Dataset", None)
    metrics: tuple[Metric, ...] | list[Metric] = ()

    def __post_init__(self) -> None:
        given: Any = self.request
        if given is None:
            object.__setattr__(self, "request", self.source)
        object.__setattr__(self, "metrics", tuple(self.metrics))
        for metric in self.metrics:
            if not isinstance(metric, Metric):
                raise self.error(
                    f"metrics holds {metric!r}", 'Give functions under @hs.metric(better="lower")'
                )

    @property
    @abstractmethod
    def loss(self) -> str:
        """What versions are compared by, request by request: lower is better."""

    @property
    def classes(self) -> tuple[Class, ...]:
        """The answers there are, in the order of their numbers; empty where the answer is a number."""
        return ()

    @property
    def together(self) -> str | None:
        """The column of the request whose equal values mark rows that belong together; None: each is by itself."""
        return None

    @property
    def aside(self) -> list[str]:
        """The columns of a request that are no features where a model declares none."""
        return []

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all its metrics."""
        return (*self.METRICS, *(metric.name for metric in self.metrics))

    def higher_is_better(self, metric: str) -> bool:
        """Which way is better, also of the project's own metrics."""
        own = next((one for one in self.metrics if one.name == metric), None)
        return own.better == "higher" if own is not None else metric in HIGHER_IS_BETTER

    def spec(self) -> dict[str, Any]:
        """What this declares, as JSON can hold it."""
        own = {one.name: [one.better, source_digest(one.function)] for one in self.metrics}
        return {
            "type": self.type,
            "label": self.label,
            "source": self.source.name,
            "request": self.request.name,
        } | ({"metrics": own} if own else {})

    def error(self, message: str, remedy: str) -> DeclarationError:
        """An error about this task, for the caller to raise."""
        return DeclarationError(
            message, remedy=remedy, declaration=f"{type(self).__name__}(label={self.label!r})"
        )


@dataclass(frozen=True)
class Binary(Task):
    """A yes-or-no question: the label is boolean, or 0 and 1."""

    type: ClassVar[str] = "binary"
    METRICS: ClassVar[tuple[str, ...]] = metrics.BINARY

    @property
    def loss(self) -> str:
        """Negative log likelihood."""
        return "log_loss"


@dataclass(frozen=True)
class MultiClass(Task):
    """Which of several classes: the label is a text or a whole number, ``data.y`` the place of its class.

    Args:
        among: The classes, in the order of the columns of ``predict_proba``; by default what the contract of
            ``source`` allows for the label.
    """

    type: ClassVar[str] = "multiclass"
    METRICS: ClassVar[tuple[str, ...]] = metrics.MULTICLASS

    among: tuple[Class, ...] | list[Class] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        column = next((one for one in self.source.columns or () if one.name == self.label), None)
        found = tuple(self.among) or (column.choices if column and column.choices else ())
        if len(found) < 2 or len(set(found)) < len(found) or len({type(one) for one in found}) > 1:
            raise self.error(
                f"has the classes {list(found)}",
                'Name two or more of one type, as among=["low", "high"], or in the contract by a Literal',
            )
        object.__setattr__(self, "among", found)

    @property
    def loss(self) -> str:
        """Negative log likelihood."""
        return "log_loss"

    @property
    def classes(self) -> tuple[Class, ...]:
        """The classes, in the order of their numbers."""
        return tuple(self.among)

    def spec(self) -> dict[str, Any]:
        """What this declares, as JSON can hold it."""
        return super().spec() | {"classes": list(self.among)}


@dataclass(frozen=True)
class Regression(Task):
    """How much: the label is a number.

    Args:
        quantile: What is predicted is this quantile of the label, as 0.9; None: its mean.
    """

    type: ClassVar[str] = "regression"
    METRICS: ClassVar[tuple[str, ...]] = metrics.REGRESSION

    quantile: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantile is not None and not 0 < self.quantile < 1:
            raise self.error(f"quantile is {self.quantile}", "Give one between 0 and 1, as 0.9")

    @property
    def loss(self) -> str:
        """The squared error, or the pinball loss of a quantile."""
        return "squared_error" if self.quantile is None else "pinball"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all its metrics: what a quantile is judged by comes first."""
        if self.quantile is None:
            return tuple(one for one in super().names if one != "coverage_error")
        return ("pinball", *(one for one in super().names if one != "pinball"))

    def spec(self) -> dict[str, Any]:
        """What this declares, as JSON can hold it."""
        return super().spec() | ({} if self.quantile is None else {"quantile": self.quantile})


@dataclass(frozen=True)
class Forecast(Regression):
    """How much it will be: requests have a time, that of the forecast, and the label comes later.

    Args:
        horizon: The column of ``request`` that says how far ahead is asked; quality is shown for each of its values.
        naive: The feature that is a naive forecast, as the label of a week before: MASE counts errors in its own.
    """

    METRICS: ClassVar[tuple[str, ...]] = metrics.FORECAST

    horizon: str | None = None
    naive: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.request.time is None:
            raise self.error(
                f"dataset {self.request.name!r} does not say when a forecast is made",
                "Name its column in time=",
            )
        if self.horizon is not None:
            _check_column(self, self.horizon)

    @property
    def together(self) -> str | None:
        """Forecasts made at the same time err together."""
        return self.request.time

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all its metrics; MASE where there is a naive forecast."""
        return tuple(one for one in super().names if one != "mase" or self.naive is not None)

    def spec(self) -> dict[str, Any]:
        """What this declares, as JSON can hold it."""
        return super().spec() | {"type": "forecast", "horizon": self.horizon, "naive": self.naive}


@dataclass(frozen=True)
class Ranking(Task):
    """In which order: each request is an item of a query, the label how relevant it turned out to be, 0 or more.

    Args:
        query: The column of ``request`` that says which items were ranked together.
        k: How many items from the top ``ndcg`` and ``hit_rate`` look at.
    """

    type: ClassVar[str] = "regression"
    METRICS: ClassVar[tuple[str, ...]] = metrics.RANKING

    query: str = ""
    k: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.query:
            raise self.error(
                "does not say which items are ranked together", 'Name their column, as query="search"'
            )
        _check_column(self, self.query)
        if self.k < 1:
            raise self.error(f"k is {self.k}", "Give 1 or more")

    @property
    def loss(self) -> str:
        """What is missing from the best order, by query."""
        return "ndcg_loss"

    @property
    def together(self) -> str | None:
        """The items of a query."""
        return self.query

    @property
    def aside(self) -> list[str]:
        """The name of the query."""
        return [self.query]

    def spec(self) -> dict[str, Any]:
        """What this declares, as JSON can hold it."""
        return super().spec() | {"type": "ranking", "query": self.query, "k": self.k}


def _check_column(task: Task, name: str) -> None:
    columns = task.request.columns
    if columns and name not in {column.name for column in columns}:
        raise task.error(f"{name!r} is no column of dataset {task.request.name!r}", "Name one that is")
