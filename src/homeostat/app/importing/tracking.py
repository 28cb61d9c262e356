"""The import itself: experiments, then runs, then models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from homeostat.app.container import Container
from homeostat.app.importing.experiments import bring_experiment
from homeostat.app.importing.models import bring_logged_model
from homeostat.app.importing.registry import bring_model
from homeostat.app.importing.runs import bring_run
from homeostat.app.importing.steps import Progress, Steps
from homeostat.app.importing.summary import Summary
from homeostat.domain.errors import BadRequest
from homeostat.domain.tracking import Experiment
from homeostat.ports.sources import Source, SourceExperiment, SourceLoggedModel, SourceRun


def import_tracking(
    container: Container,
    source: Source,
    *,
    dry_run: bool = False,
    place: str = "",
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Summary:
    """Bring what a source has.

    Args:
        container: The ports.
        source: Where it comes from.
        dry_run: Only find out what would come.
        place: What the source is called in the summary.
        tell: Is told before each thing.

    Raises:
        StoreUnavailable: a store does not answer; what came before stays, and a second import goes on from there.
        NotInstalled: a library that the source needs is missing.
    """
    summary = Summary(source=source.kind, place=place, dry_run=dry_run)
    steps = Steps(source.count(), summary, tell)
    experiments: dict[str, Experiment] = {}

    def owner(key: str) -> Experiment:
        if key not in experiments:
            raise BadRequest(f"its experiment {key} did not come over")
        return experiments[key]

    def take_experiment(given: SourceExperiment) -> None:
        experiments[given.key] = bring_experiment(container, given, summary)

    steps.take(source.experiments(), take_experiment)

    def take_run(given: SourceRun) -> None:
        watched = replace(
            given, points=lambda: steps.points(given.points()), files=lambda: steps.files(given.files())
        )
        bring_run(container, watched, owner(given.experiment), summary)

    def take_logged_model(given: SourceLoggedModel) -> None:
        watched = replace(given, files=lambda: steps.files(given.files()))
        bring_logged_model(container, watched, owner(given.experiment), summary)

    steps.take(source.runs(), take_run, runs=True)
    steps.take(source.logged_models(), take_logged_model)
    steps.take(source.models(), lambda model: bring_model(container, model, summary))
    summary.tell_all(source.missing())
    steps.end()
    return summary
