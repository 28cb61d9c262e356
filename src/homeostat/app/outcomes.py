"""What became of answered requests: labels and outcomes joined with the prediction log, each prediction once.

A label comes as a row of a dataset, by the key of the request, or by the id of the prediction (``label``). Both join at
any delay. Where both are there, the one by id counts; of an id it is the first that was sent. Of a key, quality and
training take the newest row. Tests (canaries, A/B tests, changes of concept) count a prediction once: with the first
row of its key, where no label had come by its id; what comes later changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec
import polars as pl

from homeostat.app.answers import code
from homeostat.app.code import find_model
from homeostat.app.container import Container
from homeostat.app.datasets import append_log
from homeostat.app.reading import LARGE, find_dataset, read
from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import Task
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.records import Dataset, Deployment

CAME_AT: Final = "came_at"
_ID: Final = "prediction_id"


class Labelled(msgspec.Struct, frozen=True):
    """How many labels were taken for a deployment."""

    deployment: str
    accepted: int


def log_of(deployment: str) -> str:
    """The dataset of a deployment's predictions."""
    return f"{deployment}.predictions"


def labels_of(deployment: str) -> str:
    """The dataset of labels that came by prediction id."""
    return f"{deployment}.labels"


def label(container: Container, deployment: str, labels: Mapping[str, float | bool | str]) -> Labelled:
    """Take labels by prediction id, before or after the log has the predictions; the first of an id counts.

    They are kept as numbers, those of several classes as the places of these.

    Raises:
        NotFound: there is no such deployment.
        BadRequest: there is no label, or one is no answer to the model's task.
    """
    found = container.store.get(Deployment, deployment)
    if found is None:
        raise NotFound(f"there is no deployment/{deployment}", remedy="homeostat status lists them")
    if not labels:
        raise BadRequest("there are no labels", field="labels", remedy='Send {"labels": {"01J…": 1}}')
    task = _task(container, found.model)
    rows = pl.DataFrame(
        {
            _ID: [id.removeprefix("prediction/") for id in labels],
            "at": [container.clock.now()] * len(labels),
            "label": [code(task, value) for value in labels.values()],
        },
        schema={_ID: pl.String(), "at": pl.Datetime("us", "UTC"), "label": pl.Float64()},
    )
    append_log(container, labels_of(deployment), rows)
    return Labelled(deployment, rows.height)


def _task(container: Container, model: str) -> Task | None:
    try:
        return find_model(container, model).task
    except NotFound:  # served without a declaration: its labels are numbers
        return None


def given(container: Container, deployment: str, log: pl.DataFrame) -> pl.DataFrame:
    """Of each row of a log the first ``label`` that was sent by its id, and ``CAME_AT``: null where none was.

    No rows at all where none was ever sent to the deployment.
    """
    name = labels_of(deployment)
    if container.store.get(Dataset, name) is None:
        return pl.DataFrame(schema={"label": pl.Float64(), CAME_AT: pl.Datetime("us", "UTC")})
    rows = read(container, name).select(_ID, "label", pl.col("at").alias(CAME_AT), SEQ)
    return met(container, name, rows, log, on=_ID, keep="first")


def met(
    container: Container,
    name: str,
    rows: pl.LazyFrame,
    log: pl.DataFrame,
    *,
    on: str,
    keep: Literal["first", "last"],
) -> pl.DataFrame:
    """Of each row of a log the first or the last row of a dataset with its value in a column, null where there is none.

    Args:
        container: The ports.
        name: The dataset.
        rows: What is wanted of it, with ``on`` and ``SEQ``, which are left out.
        log: Rows of the prediction log.
        on: The column.
        keep: Which row.
    """
    asked, large = log.select(on), find_dataset(container, name).rows > LARGE
    if large:  # then only those that are met are held
        rows = rows.join(asked.lazy(), on=on, how="semi", maintain_order="left")
    known = rows.collect(engine="streaming" if large else "auto")
    if not known[SEQ].is_sorted():
        known = known.sort(SEQ, maintain_order=True)
    told = known.unique(on, keep=keep, maintain_order=True)
    found = asked.join(told, on=on, how="left", maintain_order="left")
    return pl.DataFrame([column for column in found.iter_columns() if column.name not in (on, SEQ)])
