"""The list of models in a tag of their run, as clients before MLflow 3 keep it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from homeostat.app.container import Container
from homeostat.app.tracking.logs import log_in
from homeostat.app.tracking.runs import active_run
from homeostat.domain.errors import BadRequest
from homeostat.domain.tracking import RunTag
from homeostat.engine.tracking import limits

HISTORY_TAG: Final = "mlflow.log-model.history"
_NOTED: Final = ("run_id", "utc_time_created", "artifact_path", "model_uuid")


def note_model(container: Container, run_id: str, model: Mapping[str, Any]) -> None:
    """Add a model's description to the list in the run's tag ``mlflow.log-model.history``.

    Args:
        container: The ports.
        run_id: The run.
        model: What the model's ``MLmodel`` file says.

    Raises:
        NotFound: there is no such run.
        BadRequest: it is deleted, or the list would be longer than a tag may be.
    """
    flavors = model["flavors"]
    if not isinstance(flavors, dict):
        raise BadRequest("Model json has flavors that are no object", field="model_json")
    noted = {name: model[name] for name in _NOTED if name in model}
    noted["flavors"] = {
        name: {key: value for key, value in flavor.items() if key != "config"}
        if isinstance(flavor, dict)
        else flavor
        for name, flavor in flavors.items()
    }
    with container.store.begin() as tx:
        run = active_run(tx, run_id)
        there = tx.get(RunTag, run_id, HISTORY_TAG)
        try:
            before = msgspec.json.decode(there.value, type=list[Any]) if there else []
        except msgspec.DecodeError as error:
            raise BadRequest(f"The tag {HISTORY_TAG} of run {run_id} holds no list") from error
        tags = {HISTORY_TAG: msgspec.json.encode([*before, noted]).decode()}
        limits.check_tags(tags)
        log_in(container, tx, run, tags=tags)
