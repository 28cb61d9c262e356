"""What a run read, and which logged models it made: each recorded once, with the event that lineage is read from.

Datasets and models that are kept here become edges. Of others the event says the name, digest and source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from homeostat.app.container import Container
from homeostat.app.tracking.runs import active_run, tell_run
from homeostat.domain.errors import BadReference
from homeostat.domain.events import Edge, short
from homeostat.domain.records import Run
from homeostat.domain.refs import parse_ref
from homeostat.domain.tracking import LoggedModel, RunInput, RunModel
from homeostat.engine.tracking import limits
from homeostat.ports.meta import Transaction

HERE: Final = "homeostat"  # the source of datasets that are kept here
_CONTEXT: Final = "mlflow.data.context"


def log_inputs(
    container: Container, run_id: str, inputs: Sequence[RunInput], *, models: Iterable[str] = ()
) -> None:
    """Record datasets and logged models that a run read: all, or none. One that is recorded stays as it is.

    Args:
        container: The ports.
        run_id: The run.
        inputs: The datasets; their field ``run`` is set here, and ``context`` from the tag.
        models: The ids of the logged models.

    Raises:
        NotFound: there is no such run.
        BadRequest: it is deleted, or an input cannot be.
    """
    limits.check_inputs(inputs)
    with container.store.begin() as tx:
        run = active_run(tx, run_id)
        inputs_in(container, tx, run, inputs)
        models_in(container, tx, run, "input", dict.fromkeys(models, 0))


def log_outputs(container: Container, run_id: str, models: Mapping[str, int]) -> None:
    """Record logged models that a run made; one that is recorded already gets the new step.

    Args:
        container: The ports.
        run_id: The run.
        models: The step at which it made each, by the model's id.

    Raises:
        NotFound: there is no such run.
        BadRequest: it is deleted.
    """
    with container.store.begin() as tx:
        models_in(container, tx, active_run(tx, run_id), "output", models)


def inputs_in(container: Container, tx: Transaction, run: Run, inputs: Sequence[RunInput]) -> None:
    """Record datasets that a run read, in a transaction that has locked it."""
    there = {(known.name, known.digest) for known in tx.find(RunInput, ("run", "=", run.id))}
    new: dict[tuple[str, str], RunInput] = {}
    for given in inputs:
        if (given.name, given.digest) not in there:
            context = given.tags.get(_CONTEXT, given.context)
            place = len(there) + len(new)
            held = msgspec.structs.replace(given, run=run.id, context=context, place=place)
            new.setdefault((given.name, given.digest), held)
    if not new:
        return
    tx.insert(*new.values())
    sources = dict.fromkeys(one.source for one in new.values() if _is_here(one))
    told = [{"name": one.name, "digest": one.digest, "source": short(one.source)} for one in new.values()]
    edges = tuple(Edge(source, f"run/{run.id}", "input") for source in sources)
    tell_run(container, tx, run, "read", edges=edges, datasets=told)


def models_in(
    container: Container,
    tx: Transaction,
    run: Run,
    role: Literal["input", "output"],
    models: Mapping[str, int],
) -> None:
    """Record logged models that a run read or made, by their steps, in a transaction that has locked it."""
    if not models:
        return
    known = tx.find(RunModel, ("run", "=", run.id), ("role", "=", role), ("model", "in", list(models)))
    there = {one.model for one in known}
    tx.put(*(RunModel(run=run.id, model=id, role=role, step=step) for id, step in models.items()))
    made = {one.id: one.run for one in tx.find(LoggedModel, ("id", "in", list(models)))}
    here = f"run/{run.id}"
    if role == "input":
        new = [id for id in models if id not in there]
        edges = tuple(Edge(f"logged-model/{id}", here, "input") for id in new if id in made)
        what = "read"
    else:  # of one that was begun for this run, the event of its beginning says so already
        new = [id for id in models if id not in there and made.get(id) != run.id]
        edges = tuple(Edge(here, f"logged-model/{id}", "produced") for id in new if id in made)
        what = "produced"
    if new:
        tell_run(container, tx, run, what, edges=edges, models=new)


def _is_here(one: RunInput) -> bool:
    """Whether an input says that it is kept here, by a reference that is one."""
    if one.source_type != HERE:
        return False
    try:
        return parse_ref(one.source).kind == "dataset"
    except BadReference:
        return False
