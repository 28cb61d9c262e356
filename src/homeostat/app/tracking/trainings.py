"""Trainings of the loop as runs of the experiment that is named as their model, for whoever looks through a client.

Called inside the transactions of ``homeostat.app.training``, so that what a client sees is there with the training.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import numpy as np

from homeostat.app.container import Container
from homeostat.app.tracking.experiments import experiment_in
from homeostat.app.tracking.inputs import HERE
from homeostat.app.tracking.logs import log_in
from homeostat.app.tracking.points import rows_in
from homeostat.app.tracking.runs import NAME_TAG
from homeostat.domain.records import DatasetVersion, Run
from homeostat.domain.refs import Ref
from homeostat.domain.tracking import RunInput
from homeostat.engine.tracking import limits
from homeostat.engine.tracking.arrays import ROW, Rows
from homeostat.engine.tracking.names import run_name
from homeostat.ports.meta import Transaction

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DIGEST: Final = 32  # hexadecimal digits of a dataset's digest, as long as clients know them


def add_training(container: Container, tx: Transaction, run: Run, read: Sequence[DatasetVersion]) -> Run:
    """Store a training that was submitted, with its parameters, tags and inputs.

    Args:
        container: The ports.
        tx: The transaction.
        run: The training.
        read: The versions of the datasets that it reads.

    Returns:
        The run as it was stored: in its experiment, with a name.
    """
    experiment = experiment_in(container, tx, run.model)
    made = msgspec.structs.replace(run, experiment=experiment.id, name=run_name())
    tx.insert(made)
    tags = run.tags | {"mlflow.user": run.actor, "mlflow.note.content": run.reason, NAME_TAG: made.name}
    log_in(
        container,
        tx,
        made,
        params=_params(made),
        tags={_text(key, limits.KEY): _text(value, limits.TAG) for key, value in tags.items()},
    )
    tx.insert(  # without an event of their own: that of the training has their edges
        *(
            RunInput(
                run=made.id,
                name=version.dataset,
                digest=version.digest.removeprefix("sha256:")[:_DIGEST],
                source_type=HERE,
                source=str(Ref("dataset", version.dataset).at(version.version)),
                profile=json.dumps({"num_rows": version.rows}),
                context="training",
                tags={"mlflow.data.context": "training"},
                place=place,
            )
            for place, version in enumerate(read)
        )
    )
    return made


def log_results(container: Container, tx: Transaction, run: Run, at: datetime) -> None:
    """Store the metrics of a training that ended, each as one point, and parameters that it found itself."""
    log_in(container, tx, run, params=_params(run))
    named = {_text(key, limits.KEY): value for key, value in run.metrics.items()}
    points = np.zeros(len(named), ROW)
    points["key"] = np.arange(len(named))
    points["value"] = list(named.values())
    points["timestamp"] = max((at - _EPOCH) // timedelta(milliseconds=1), 0)
    rows_in(tx, run, Rows(list(named), points))


def _params(run: Run) -> dict[str, str]:
    return {_text(key, limits.KEY): _text(value, limits.PARAM) for key, value in run.params.items()}


def _text(value: Any, limit: int) -> str:
    """A value as both databases hold it, no longer than clients are told that it may be."""
    return str(value).replace("\0", "")[:limit]
