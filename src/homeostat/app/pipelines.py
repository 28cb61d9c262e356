"""Running the pipelines of the applied project, and giving up steps whose process died."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from homeostat.app.code import declared, project
from homeostat.app.container import Container
from homeostat.app.leases import hold, release, renewing
from homeostat.app.projects import checkout, importing
from homeostat.domain.errors import NotFound
from homeostat.domain.events import Event
from homeostat.domain.records import StepExecution
from homeostat.engine.pipelines.run import Progress, Result, run


def run_pipeline(
    container: Container,
    name: str,
    params: Mapping[str, Any] | None = None,
    *,
    progress: Progress | None = None,
) -> Result:
    """Execute a pipeline of the applied project; steps whose code and inputs are known are not repeated.

    Raises:
        NotFound: the project declares no such pipeline.
        DeclarationError: parameters that do not fit, or a result that cannot be kept.
        Exception: whatever a step raises, with a note that says which; it is recorded first.
    """
    pipelines = declared(container).pipelines
    if name not in pipelines:
        raise NotFound(
            f"there is no pipeline/{name}", remedy=f"The project declares {', '.join(pipelines) or 'none'}"
        )
    lease = hold(container, "job", f"pipeline/{name}")
    try:
        source = checkout(container.blobs, project(container).source, container.settings.home)
        with renewing(container, lease), importing(source):
            return run(
                pipelines[name],
                params,
                store=container.store,
                blobs=container.blobs,
                clock=container.clock,
                progress=progress,
            )
    finally:
        release(container, lease)


def give_up(container: Container, name: str) -> None:
    """Record that the steps which a dead process was executing failed."""
    with container.store.begin() as tx:
        for step in tx.find(StepExecution, ("pipeline", "=", name), ("state", "=", "running")):
            failed = msgspec.structs.replace(step, state="failed", error="its process died")
            tx.put(failed)
            body = {"pipeline": name, "step": step.step, "error": failed.error}
            tx.append(
                Event(kind="step.failed", subject=f"step/{step.id}", at=container.clock.now(), body=body)
            )
