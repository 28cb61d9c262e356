"""The import itself: experiments, runs, models, one after the other; what fails is told, and the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from homeostat.app.container import Container
from homeostat.app.importing.experiments import bring_experiment
from homeostat.app.importing.models import bring_logged_model
from homeostat.app.importing.registry import bring_model
from homeostat.app.importing.runs import bring_run
from homeostat.app.importing.summary import Summary
from homeostat.domain.errors import BadRequest, HomeostatError, StoreUnavailable
from homeostat.domain.tracking import Experiment
from homeostat.ports.sources import Item, Missing, Source, SourceExperiment

T = TypeVar("T")


class Progress(msgspec.Struct, frozen=True):
    """How far an import is: so many runs of so many, and what comes next."""

    done: int
    total: int
    next: str


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
        StoreUnavailable: this store does not answer; what came before stays, and a second import goes on from there.
    """
    summary = Summary(source=source.kind, place=place, dry_run=dry_run)
    experiments: dict[str, Experiment] = {}
    total = source.count()
    done = 0

    def each(items: Iterator[Item[T]], bring: Callable[[T], None]) -> Iterator[None]:
        for item in items:
            tell(Progress(done, total, item.name))
            try:
                bring(item.load())
            except StoreUnavailable:
                raise
            except HomeostatError as error:
                summary.failed += 1
                summary.tell(Missing(item.name, error.message))
            yield

    def owner(key: str) -> Experiment:
        if key not in experiments:
            raise BadRequest(f"its experiment {key} did not come over")
        return experiments[key]

    def take_experiment(given: SourceExperiment) -> None:
        experiments[given.key] = bring_experiment(container, given, summary)

    for _ in each(source.experiments(), take_experiment):
        pass
    for _ in each(source.runs(), lambda run: bring_run(container, run, owner(run.experiment), summary)):
        done += 1
    for _ in each(
        source.logged_models(),
        lambda model: bring_logged_model(container, model, owner(model.experiment), summary),
    ):
        pass
    for _ in each(source.models(), lambda model: bring_model(container, model, summary)):
        pass
    summary.tell_all(source.missing())
    tell(Progress(done, total, ""))
    return summary
