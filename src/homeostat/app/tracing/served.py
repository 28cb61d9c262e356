"""Where traces of predictions go: to a collector of OpenTelemetry, else to the experiment named as the deployment."""

from __future__ import annotations

from typing import Final

from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.app.tracing.ingest import take_spans
from homeostat.app.tracking.experiments import experiment_in
from homeostat.domain.errors import NotFound
from homeostat.engine.serving.tracing import Keep, Tracer
from homeostat.engine.tracking.spans import read_json
from homeostat.ports.clock import Clock

_PAUSE: Final = 10.0  # between two that nobody asked for: what is kept here is kept for good
_PATIENCE: Final = 5.0


def tracer_of(settings: Settings, clock: Clock, container: Container | None = None) -> Tracer:
    """What traces predictions, as the settings say.

    Args:
        settings: How many, and where to.
        clock: World and monotonic time.
        container: Where they are kept when there is no collector; None: then nowhere.
    """
    if settings.otlp:
        return Tracer(clock, settings.trace_share, sent(settings.otlp), linked=True)
    if container is None:
        return Tracer(clock)
    return Tracer(clock, settings.trace_share, _stored(container), pause=_PAUSE, limit=settings.trace_limit)


def sent(collector: str) -> Keep:
    """To a collector over HTTP, in JSON."""
    return lambda deployment, request: post(collector, "traces", request)


def post(collector: str, signal: str, request: bytes) -> None:
    """Send a collector a request of OTLP in JSON, of ``traces`` or ``metrics``.

    Raises:
        httpx.HTTPError: it does not take it.
    """
    import httpx

    answer = httpx.post(
        f"{collector}/v1/{signal}",
        content=request,
        headers={"content-type": "application/json"},
        timeout=_PATIENCE,
    )
    answer.raise_for_status()


def _stored(container: Container) -> Keep:
    """Among the traces of the experiment that trainings of the same name belong to."""

    def keep(deployment: str, request: bytes) -> None:
        if not deployment:
            raise NotFound("the requests named no deployment that is served here")
        with container.store.begin() as tx:
            experiment = experiment_in(container, tx, deployment)
        take_spans(container, experiment.id, read_json(request))

    return keep
