"""Searching runs and experiments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from homeostat.app.container import Container
from homeostat.app.search import search
from homeostat.app.tracking.experiments import ensure_default
from homeostat.domain.records import Run
from homeostat.domain.tracking import Experiment
from homeostat.engine.tracking.kinds import EXPERIMENTS, RUNS
from homeostat.ports.meta import Where
from homeostat.ports.search import Page

View = Literal["active", "deleted", "all"]


def search_runs(
    container: Container,
    experiments: Sequence[int],
    filter: str = "",
    *,
    view: View = "active",
    order_by: Sequence[str] = (),
    limit: int = 1000,
    token: str = "",
) -> Page[Run]:
    """A page of the runs of some experiments; the newest first where no order is asked for.

    Args:
        container: The ports.
        experiments: Their ids; none: there is nothing to be found.
        filter: Comparisons joined by AND.
        view: Which runs: those that are not deleted, those that are, or both.
        order_by: Terms such as ``metrics.loss DESC``.
        limit: How many a page has at most.
        token: Where the page before ended; empty: the first.

    Raises:
        BadRequest: the filter, an order or the token cannot be.
    """
    wanted = sorted(set(experiments))
    where: Where = ("experiment", "=", wanted[0]) if len(wanted) == 1 else ("experiment", "in", wanted)
    return search(
        container,
        RUNS,
        filter,
        scope=(where, *_seen(view)),
        order_by=order_by,
        limit=limit,
        token=token,
    )


def search_experiments(
    container: Container,
    filter: str = "",
    *,
    view: View = "active",
    order_by: Sequence[str] = (),
    limit: int = 1000,
    token: str = "",
) -> Page[Experiment]:
    """A page of the experiments; the newest first where no order is asked for. For arguments see ``search_runs``.

    Raises:
        BadRequest: the filter, an order or the token cannot be.
    """
    ensure_default(container)
    return search(
        container, EXPERIMENTS, filter, scope=_seen(view), order_by=order_by, limit=limit, token=token
    )


def _seen(view: View) -> tuple[Where, ...]:
    if view == "all":
        return ()
    return (("deleted_at", "=" if view == "active" else "!=", None),)
