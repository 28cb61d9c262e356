"""What ``homeostat.sdk.explanations`` asks a server, answered by the store itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from homeostat.app.attributing import Explanation, Importance
    from homeostat.app.container import Container


class DirectExplanations:
    """Why a model answers as it does."""

    _container: Container

    def explain(self, prediction: str, *, budget: int = 2_000) -> Explanation:
        """What each feature of a prediction adds to its answer."""
        from homeostat.app.attributing import explanation

        return explanation(self._container, prediction, budget=budget)

    def importance(self, model: str, *, window: str = "7d", budget: int = 20_000) -> Importance:
        """How much each feature matters over the newest requests."""
        from homeostat.app.attributing import importances

        return importances(self._container, model, window=window, budget=budget)
