"""Calls that explain predictions."""

from __future__ import annotations

from homeostat.app import attributing
from homeostat.app.container import Container
from homeostat.server.calls import Call


def explained(container: Container, call: Call) -> attributing.Explanation:
    """What the features of a prediction add to its answer."""
    return attributing.explanation(
        container, call.path["id"], budget=call.number("budget", attributing.BUDGET)
    )


def important(container: Container, call: Call) -> attributing.Importance:
    """How much features matter over the newest requests."""
    return attributing.importances(
        container,
        call.path["name"],
        window=call.query.get("window") or attributing.WINDOW,
        budget=call.number("budget", attributing.WINDOW_BUDGET),
    )
