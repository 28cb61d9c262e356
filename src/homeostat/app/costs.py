"""What trainings cost, estimated: their time at the price of a processor's hour, or the energy that they used."""

from __future__ import annotations

from statistics import fmean
from typing import Final

from homeostat.app.container import Container
from homeostat.app.settings import Settings, variable
from homeostat.domain.declarations import Model
from homeostat.domain.durations import parse_duration
from homeostat.domain.records import Run
from homeostat.engine.control.rules import Spent

ENERGY_COST: Final = "energy_cost"
_LAST: Final = 5  # trainings that tell what the next one will cost


def cost_of(settings: Settings, run: Run) -> float:
    """What a training cost, in the currency of ``currency_of``: one processor for its time, or its energy."""
    price, _, _ = settings.cpu_price.partition(" ")
    if price:
        return (run.seconds or 0.0) / 3600 * float(price)
    return run.metrics.get(ENERGY_COST, 0.0)


def currency_of(settings: Settings) -> str | None:
    """The currency in which trainings are priced; None where they are not."""
    price = settings.cpu_price or settings.energy_price
    return price.partition(" ")[2] if price else None


def spent(container: Container, model: Model) -> Spent:
    """What the trainings within the time of a model's budget cost, and what the next one is expected to."""
    if model.retrain is None or model.retrain.budget is None:
        return Spent()
    settings = container.settings
    since = container.clock.now() - parse_duration(model.retrain.budget[1])
    runs = container.store.find(
        Run, ("model", "=", model.name), ("kind", "=", "train"), order=["-created_at"]
    )
    known = [cost_of(settings, run) for run in runs if run.state == "succeeded"][:_LAST]
    return Spent(
        cost=sum(cost_of(settings, run) for run in runs if run.created_at > since),
        next=fmean(known) if known else 0.0,
    )


def check_budget(settings: Settings, model: Model) -> None:
    """Raise where a model has a budget of money that nothing can be compared with.

    Raises:
        DeclarationError: trainings have no price, or one in another currency.
    """
    if model.retrain is None or model.retrain.budget is None:
        return
    currency = currency_of(settings)
    wanted = model.retrain.money[1]
    if currency is None:
        raise model.error(
            f"its budget is {model.retrain.budget[0]}, and trainings have no price",
            f"Set {variable('cpu_price')} to the price of an hour of one processor, as in 0.04 {wanted}".rstrip(),
        )
    if currency != wanted:
        raise model.error(
            f"its budget is in {wanted or 'no currency'}, and prices are in {currency or 'none'}",
            f"Write the budget as the settings cpu_price and energy_price are written, in {currency or 'no currency'}",
        )
