"""Rows of a deployment's prediction log, no more of them than a look can hold.

Where more were asked, a look takes a sample: each prediction by itself, or with those that its task judges together, so
that what is found of it holds for all, but for the counts, which are of the sample.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from homeostat.app.answers import unit_of
from homeostat.app.container import Container
from homeostat.app.outcomes import log_of
from homeostat.app.reading import LARGE, find_dataset, read
from homeostat.domain.declarations import Task


class Traffic(NamedTuple):
    """Rows of the log, each of which stands for ``one_in`` rows; 1: they are all there are."""

    rows: pl.DataFrame
    one_in: int = 1


def traffic(
    container: Container,
    deployment: str,
    *which: pl.Expr,
    task: Task | None = None,
    unit: pl.Expr | None = None,
    most: int = LARGE,
) -> Traffic:
    """The rows of a log that ``which`` hold for; of more than ``most`` a sample of about as many.

    Args:
        container: The ports.
        deployment: Whose log.
        which: What holds for the rows that are wanted.
        task: What is judged, where that is known.
        unit: What a sample has as a whole or not at all; None: what ``task`` judges together, or each row.
        most: Rows.

    Raises:
        NotFound: nothing was asked of the deployment yet.
    """
    name = log_of(deployment)
    rows = read(container, name).filter(*which)
    if find_dataset(container, name).rows <= most:
        return Traffic(rows.collect())
    height = rows.select(pl.len()).collect(engine="streaming").item()
    one_in = -(-height // most) or 1
    if one_in > 1:
        if unit is None:
            unit = unit_of(task, rows.collect_schema().names())
        rows = rows.filter(unit.hash() % one_in == 0)
    return Traffic(rows.collect(engine="streaming"), one_in)
