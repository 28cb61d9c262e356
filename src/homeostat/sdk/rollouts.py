"""What serves, as a client asks about it: shadows, labels, what was tried out, predictions computed again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from homeostat.domain.records import Deployment
from homeostat.sdk.calls import Calls

if TYPE_CHECKING:
    from homeostat.app.outcomes import Labelled
    from homeostat.app.replaying import Replay
    from homeostat.app.shadows import Agreement
    from homeostat.app.tried import Tried
    from homeostat.domain.records import Freeze
    from homeostat.engine.monitoring.quality import Quality


class Rollouts(Calls):
    """Calls about what serves."""

    def freeze(self, model: str = "", *, reason: str = "asked for", actor: str = "user") -> Freeze:
        """Stop the loop, of a model or without a name of all: nothing is trained, rolled out or promoted.

        Raises:
            NotFound: no such model is declared.
            Conflict: it is frozen already.
        """
        from homeostat.domain.records import Freeze

        return self._post("/freeze", {"model": model, "reason": reason, "actor": actor}, Freeze)

    def unfreeze(self, model: str = "", *, reason: str = "asked for", actor: str = "user") -> Freeze:
        """Let the loop go on; returns the freeze that was in force.

        Raises:
            Conflict: there is none.
        """
        from homeostat.domain.records import Freeze

        return self._post("/unfreeze", {"model": model, "reason": reason, "actor": actor}, Freeze)

    def quality(self, model: str, *, window: str = "7d") -> Quality:
        """How good a model's answers were over the newest window, on the labels that have come.

        Raises:
            NotFound: no such model is declared, or nothing was asked of it.
        """
        from homeostat.engine.monitoring.quality import Quality

        return self._get(f"/deployments/{quote(model)}/quality", Quality, {"window": window})

    def label(self, deployment: str, labels: Mapping[str, float | bool | str]) -> Labelled:
        """Say what became of predictions, by their ids; the first label of an id counts, whenever it comes.

        Raises:
            NotFound: there is no such deployment.
            BadRequest: a label is no number, or none of the model's classes.
        """
        from homeostat.app.outcomes import Labelled

        # Sent again it counts once, so it may be.
        body = {"labels": dict(labels)}
        return self._post(f"/deployments/{quote(deployment)}/labels", body, Labelled, repeatable=True)

    def tried(self, deployment: str, *, limit: int = 20) -> list[Tried]:
        """Canaries, A/B tests and probations of a deployment with the evidence of each, the newest first."""
        from homeostat.app.tried import Tried

        return self._get(f"/deployments/{quote(deployment)}/rollouts", list[Tried], {"limit": limit})

    def start_shadow(
        self,
        deployment: str,
        version: int,
        *,
        share: float = 0.1,
        reason: str = "asked for",
        actor: str = "user",
    ) -> Deployment:
        """Let a version score a share of the requests for comparison; it answers nobody.

        Raises:
            NotFound: there is no such deployment or version.
            Conflict: the version answers there already.
            BadRequest: the share is none, or more than is left.
        """
        body = {"version": version, "share": share, "reason": reason, "actor": actor}
        return self._post(f"/deployments/{quote(deployment)}/shadow", body, Deployment)

    def stop_shadow(
        self, deployment: str, version: int = 0, *, reason: str = "asked for", actor: str = "user"
    ) -> Deployment:
        """Take a shadow out; without a version, every one."""
        body = {"version": version, "reason": reason, "actor": actor}
        return self._post(f"/deployments/{quote(deployment)}/shadow/stop", body, Deployment)

    def agreement(self, deployment: str, version: int = 0) -> Agreement:
        """How far a shadow's scores agree with what was answered; by default that of the one that runs."""
        from homeostat.app.shadows import Agreement

        return self._get(f"/deployments/{quote(deployment)}/shadow", Agreement, {"version": version})

    def replay(self, prediction: str) -> Replay:
        """Compute a prediction again as of then, step by step, and say whether it matches.

        Raises:
            NotFound: no log holds it, or its model is gone.
            Conflict: it was not answered.
        """
        from homeostat.app.replaying import Replay

        return self._get(f"/predictions/{quote(prediction.removeprefix('prediction/'))}/replay", Replay)
