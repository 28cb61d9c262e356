"""``hs.search``, ``hs.history`` and ``hs.best``: runs and points as frames, and the best of runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from homeostat.app.settings import Settings
from homeostat.sdk.tracking import active
from homeostat.sdk.tracking.reading import Runs, runs

if TYPE_CHECKING:
    import polars as pl

    from homeostat.app.tracking.curves import Points
    from homeostat.app.tracking.search import View
    from homeostat.app.tracking.summaries import Best, Goal, RunSummary
    from homeostat.sdk.tracking.run import Run

_PAGE: Final = 1000
_PATIENCE: Final = 5.0  # seconds for which an answer waits for what this process has logged
_FIELDS: Final = (
    "id", "name", "experiment", "state", "actor", "started_at", "ended_at", "seconds", "error", "parent"
)  # fmt: skip


def search(
    filter: str = "",
    *,
    experiments: str | Sequence[str] = (),
    order_by: str | Sequence[str] = (),
    view: View = "active",
    limit: int | None = None,
) -> pl.DataFrame:
    """Find runs, as in ``hs.search("metrics.loss < 0.3 AND params.model = 'tree'", order_by="metrics.loss")``.

    The server is asked where one answers, else the store of the home.

    Args:
        filter: Comparisons joined by AND: ``metrics.…``, ``params.…``, ``tags.…`` and ``attributes.…`` with ``=``,
            ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``LIKE``, ``ILIKE``, ``IN``, ``IS NULL``.
        experiments: Names or ids; none: all that are not deleted.
        order_by: Terms such as ``metrics.loss DESC``; the newest first by default.
        view: ``active``, ``deleted`` or ``all``.
        limit: How many at most; None: all.

    Returns:
        A row a run: what it is, then ``params.…`` as texts, ``metrics.…`` as numbers and ``tags.…``, null where a run
        has none.

    Raises:
        NotFound: there is no such experiment.
        BadRequest: the filter or an order cannot be.
    """
    with _up_to_date() as found:
        return frame(all_of(found, filter, _listed(experiments), _listed(order_by), view, limit))


def history(run: Run | str, metric: str, *, axis: str = "") -> pl.DataFrame:
    """Every point of a metric of a run, as in ``hs.history("4f1c", "val/loss", axis="epoch")``.

    Args:
        run: The run, its id, or the beginning of its id.
        metric: The metric's name.
        axis: ``step``, ``time`` or the name of a metric of the run; by default as the run says.

    Returns:
        A row a point, in the order of the time: ``timestamp`` (UTC), ``step``, ``value`` (null where it was NaN) and
        ``at``, where it lies on the axis: the step, milliseconds since 1970, or the last value that the other metric
        had at that step, null before its first. Empty where the run has no such metric.

    Raises:
        NotFound: there is no such run.
        Conflict: several ids begin so.
    """
    with _up_to_date() as found:
        id = run.removeprefix("run/") if isinstance(run, str) else run.id
        return points_frame(found.points(found.summary(id).id, metric, axis))


def best(metric: str, filter: str = "", *, goal: Goal = "min", experiments: str | Sequence[str] = ()) -> Best:
    """The best run by the latest value of a metric, among those that meet a condition.

    Args:
        metric: Its name.
        filter: The condition, as for ``search``.
        goal: ``min`` or ``max``.
        experiments: Names or ids; none: all that are not deleted.

    Returns:
        The run, its value, the ties, and the reason in words.

    Raises:
        NotFound: no run that meets the condition has the metric.
        BadRequest: the condition or the goal cannot be.
    """
    with _up_to_date() as found:
        return found.best(metric, goal=goal, filter=filter, experiments=_listed(experiments))


def all_of(
    found: Runs,
    filter: str,
    experiments: Sequence[str],
    order_by: Sequence[str],
    view: View,
    limit: int | None,
) -> list[RunSummary]:
    """Every run that a search finds, up to a limit."""
    out: list[RunSummary] = []
    token = ""
    while limit is None or len(out) < limit:
        many = _PAGE if limit is None else min(limit - len(out), _PAGE)
        page = found.find(
            filter, experiments=experiments, order_by=order_by, view=view, limit=many, token=token
        )
        out += page.runs
        token = page.token
        if not token:
            break
    return out


def frame(found: Sequence[RunSummary]) -> pl.DataFrame:
    """Runs as a frame."""
    import polars as pl

    moment = pl.Datetime("us", "UTC")
    kinds: dict[str, Any] = {name: pl.String() for name in _FIELDS}
    kinds |= {"started_at": moment, "ended_at": moment, "seconds": pl.Float64()}
    columns: dict[str, pl.Series] = {
        name: pl.Series(name, [getattr(run, name) for run in found], kinds[name]) for name in _FIELDS
    }
    for group, kind in (("params", pl.String()), ("metrics", pl.Float64()), ("tags", pl.String())):
        names = sorted({name for run in found for name in getattr(run, group)})
        for name in names:
            values = [getattr(run, group).get(name) for run in found]
            columns[f"{group}.{name}"] = pl.Series(f"{group}.{name}", values, kind)
    return pl.DataFrame(list(columns.values()))


def points_frame(points: Points) -> pl.DataFrame:
    """Points as a frame."""
    import polars as pl

    moment = pl.from_epoch(pl.Series("timestamp", points.timestamp, pl.Int64), "ms").dt.replace_time_zone(
        "UTC"
    )
    rest = [pl.Series("step", points.step, pl.Int64), pl.Series("value", points.value, pl.Float64)]
    return pl.DataFrame([moment, *rest, pl.Series("at", points.at, pl.Float64)])


@contextmanager
def _up_to_date() -> Iterator[Runs]:
    """Runs, with what this process has logged to its own until now."""
    active.deliver(_PATIENCE)
    with runs(Settings.load()) as found:
        yield found


def _listed(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) and given else list(given)
