"""What a client asks about why a model answers as it does."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from homeostat.sdk.calls import Calls

if TYPE_CHECKING:
    from homeostat.app.attributing import Explanation, Importance


class Explanations(Calls):
    """Calls that explain predictions."""

    def explain(self, prediction: str, *, budget: int = 2_000) -> Explanation:
        """What each feature of a prediction adds to its answer (Shapley values).

        Args:
            prediction: Its id, or its reference.
            budget: Rows that the model may be asked with, where contributions are not exact.

        Raises:
            NotFound: no log holds it, or its model is gone.
            Conflict: it was not answered, or there is nothing to compare it with.
        """
        from homeostat.app.attributing import Explanation

        path = f"/predictions/{quote(prediction.removeprefix('prediction/'))}/explanation"
        return self._get(path, Explanation, {"budget": budget})

    def importance(self, model: str, *, window: str = "7d", budget: int = 20_000) -> Importance:
        """How much each feature matters: its mean absolute contribution over the newest requests.

        Raises:
            NotFound: nothing of this name serves, or nothing was asked of it in the window.
        """
        from homeostat.app.attributing import Importance

        path = f"/deployments/{quote(model.removeprefix('model/'))}/importance"
        return self._get(path, Importance, {"window": window, "budget": budget})
