"""The calls of ``sdk.rollouts`` done on the store by this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from homeostat.app.container import Container
    from homeostat.app.outcomes import Labelled
    from homeostat.app.replaying import Replay
    from homeostat.app.shadows import Agreement
    from homeostat.app.tried import Tried
    from homeostat.domain.records import Deployment, Freeze
    from homeostat.engine.monitoring.quality import Quality


class DirectRollouts:
    """Shadows, labels, what was tried out, and predictions computed again."""

    _container: Container

    def freeze(self, model: str = "", *, reason: str = "asked for", actor: str = "user") -> Freeze:
        """Stop the loop, of a model or of all."""
        from homeostat.app.freezing import freeze

        return freeze(self._container, model, reason=reason, actor=actor)

    def unfreeze(self, model: str = "", *, reason: str = "asked for", actor: str = "user") -> Freeze:
        """Let the loop go on."""
        from homeostat.app.freezing import unfreeze

        return unfreeze(self._container, model, reason=reason, actor=actor)

    def quality(self, model: str, *, window: str = "7d") -> Quality:
        """How good a model's answers were over the newest window."""
        from homeostat.app.quality import assess

        return assess(self._container, model, window=window)

    def label(self, deployment: str, labels: Mapping[str, float | bool | str]) -> Labelled:
        """Say what became of predictions, by their ids."""
        from homeostat.app.outcomes import label

        return label(self._container, deployment, labels)

    def tried(self, deployment: str, *, limit: int = 20) -> list[Tried]:
        """What was tried out on a deployment, the newest first."""
        from homeostat.app.tried import tried

        return tried(self._container, deployment, limit=limit)

    def start_shadow(
        self,
        deployment: str,
        version: int,
        *,
        share: float = 0.1,
        reason: str = "asked for",
        actor: str = "user",
    ) -> Deployment:
        """Let a version score a share of the requests for comparison."""
        from homeostat.app.shadows import start_shadow

        return start_shadow(self._container, deployment, version, share=share, actor=actor, reason=reason)

    def stop_shadow(
        self, deployment: str, version: int = 0, *, reason: str = "asked for", actor: str = "user"
    ) -> Deployment:
        """Take a shadow out; without a version, every one."""
        from homeostat.app.shadows import stop_shadow

        return stop_shadow(self._container, deployment, version, actor=actor, reason=reason)

    def agreement(self, deployment: str, version: int = 0) -> Agreement:
        """How far a shadow agrees with what was answered."""
        from homeostat.app.shadows import agreement

        return agreement(self._container, deployment, version)

    def replay(self, prediction: str) -> Replay:
        """Compute a prediction again."""
        from homeostat.app.replaying import replay

        return replay(self._container, prediction)
