"""The calls of the client, done on the store by this process: for when no server runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from homeostat.cli.alerted import DirectAlerts
from homeostat.cli.explained import DirectExplanations
from homeostat.cli.served import DirectRollouts
from homeostat.domain.errors import NotFound
from homeostat.domain.records import Deployment, Evaluation, GateResult, ModelVersion, Run

if TYPE_CHECKING:
    from pathlib import Path

    from homeostat.app.approvals import Standing
    from homeostat.app.container import Container
    from homeostat.app.reasons import Reason
    from homeostat.app.registry.directories import Layout
    from homeostat.app.registry.reading import ModelShown, VersionShown
    from homeostat.app.registry.reports import Compared, Live, Model, Models
    from homeostat.app.signatures import Signatures
    from homeostat.domain.events import Event, Verdict
    from homeostat.engine.registry.card import Card


class Direct(DirectRollouts, DirectExplanations, DirectAlerts):
    """Answers from a container as a server would. What the dead left is reaped by the next controller.

    Args:
        container: The ports.
    """

    def __init__(self, container: Container) -> None:
        self._container = container

    def status(self) -> dict[str, Any]:
        """What is declared, what serves, what runs where."""
        from homeostat.app.explain import status

        return status(self._container)

    def why(self, trigger: str, *, limit: int = 20, fired: bool = False) -> list[Evaluation]:
        """Evaluations of a model's retraining rules, the newest first."""
        from homeostat.app.explain import why

        return why(self._container, trigger, limit=limit, fired=fired)

    def reason(self, ref: str) -> Reason:
        """Why a version, run, deployment or model is as it is."""
        from homeostat.app.reasons import reason

        return reason(self._container, ref)

    def lineage(self, ref: str, direction: Literal["up", "down", "both"] = "both") -> dict[str, Any]:
        """What a thing came from and what came of it."""
        from homeostat.app.explain import lineage

        return lineage(self._container, ref, direction)

    def prediction(self, id: str) -> dict[str, Any]:
        """What stands behind a prediction."""
        from homeostat.app.explain import trace

        return trace(self._container, id)

    def events(self, *, subject: str = "", kinds: Sequence[str] = (), limit: int = 20) -> list[Event]:
        """Events of the ledger, the newest first."""
        return self._container.ledger.find(subject=subject or None, kinds=kinds, limit=limit)

    def verify(self) -> Verdict:
        """Walk the ledger's hash chain."""
        return self._container.ledger.verify()

    def run(self, id: str) -> Run:
        """A run and how it stands."""
        found = self._container.store.get(Run, id.removeprefix("run/"))
        if found is None:
            raise NotFound(f"there is no run/{id.removeprefix('run/')}", remedy="homeostat status lists them")
        return found

    def versions(self, model: str) -> list[ModelVersion]:
        """The versions of a model, the newest first."""
        from homeostat.app.registry.reading import records_of

        return records_of(self._container.store, model)

    def models(self, filter: str = "", *, limit: int = 20) -> Models:
        """Registered models by name."""
        from homeostat.app.registry.reports import Models
        from homeostat.app.registry.search import search_models

        page = search_models(self._container, filter, limit=limit)
        return Models(page.items, page.token)

    def model(self, name: str, *, limit: int = 20) -> Model:
        """A registered model with its newest versions."""
        from homeostat.app.registry import reading
        from homeostat.app.registry.reports import Model

        shown = reading.model(self._container.store, name)
        return Model(shown, reading.versions(self._container.store, name, limit=limit))

    def version(self, name: str, at: str = "latest") -> VersionShown:
        """A version by its number, or the one that an alias points to, with what it is made of."""
        from homeostat.app.registry.contents import whole_version

        return whole_version(self._container, name, at)

    def live_at(self, name: str, at: datetime, *, alias: str = "champion") -> Live:
        """What an alias of a model pointed to at a time."""
        from homeostat.app.registry.aliases import live_at

        return live_at(self._container, name, at, alias)

    def compare(self, old: str, new: str) -> Compared:
        """What two versions differ in."""
        from homeostat.app.registry.comparing import compare

        return compare(self._container, old, new)

    def gates(self, model: str, version: int) -> list[GateResult]:
        """The verdict of each gate on a version."""
        from homeostat.app.registry.reading import verdicts

        return verdicts(self._container.store, model, version)

    def train(
        self,
        model: str,
        *,
        reason: str,
        using: str = "",
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        actor: str = "user",
        progress: Callable[[str], None] = lambda text: None,
    ) -> Run:
        """Train now, in this process: then the gates judge, and an accepted version is rolled out."""
        from homeostat.app.reactors import react_all
        from homeostat.app.training import execute, submit

        container = self._container
        run = submit(
            container,
            model,
            reason=reason,
            using=using,
            params=dict(params or {}),
            tags=dict(tags or {}),
            actor=actor,
        )
        execute(container, run.id, progress=progress)
        react_all(container)
        return self.run(run.id)

    def approve(
        self, model: str, version: int, *, reason: str, actor: str = "user", digest: str = ""
    ) -> Standing:
        """Agree to a version that passed its gates; a rollout that waited for it begins."""
        from homeostat.app.approvals import approve
        from homeostat.app.reactors import react_all

        found = approve(self._container, model, version, actor=actor, reason=reason, digest=digest)
        react_all(self._container)
        return found

    def approvals(self, model: str, version: int) -> Standing:
        """How a version stands with its approvals."""
        from homeostat.app.approvals import standing

        return standing(self._container, model, version)

    def alias(self, model: str, alias: str, version: int | None, *, actor: str = "user") -> ModelShown:
        """Let an alias point to a version, or with None to nothing."""
        from homeostat.app.registry import reading
        from homeostat.app.registry.aliases import drop_alias, set_alias

        if version is None:
            drop_alias(self._container, model, alias, actor=actor)
        else:
            set_alias(self._container, model, alias, version, actor=actor)
        return reading.model(self._container.store, model)

    def mark(
        self,
        model: str,
        at: str = "",
        *,
        tags: Mapping[str, str | None] | None = None,
        description: str | None = None,
        actor: str = "user",
    ) -> ModelShown:
        """Tag and describe a model, or one version of it."""
        from homeostat.app.registry import reading
        from homeostat.app.registry.marking import mark

        mark(self._container, model, at, tags=tags, description=description, actor=actor)
        return reading.model(self._container.store, model)

    def sign(
        self,
        model: str,
        at: str = "latest",
        *,
        bundle: str,
        public: str,
        digest: str = "",
        actor: str = "user",
    ) -> Signatures:
        """Keep a signature with a version; a rollout that waited for it begins."""
        from homeostat.app.reactors import react_all
        from homeostat.app.signatures import add
        from homeostat.engine.registry.signing import Signed

        signed = Signed(bundle=bundle, public=public)
        found = add(self._container, model, at, signed, digest=digest, actor=actor)
        react_all(self._container)
        return found

    def signatures(self, model: str, at: str = "latest") -> Signatures:
        """Who signed a version, each signature verified now."""
        from homeostat.app.signatures import standing

        return standing(self._container, model, at)

    def bundles(self, model: str, at: str = "latest") -> list[dict[str, str]]:
        """The signatures of a version as they were sent."""
        from homeostat.app.signatures import bundles

        return [{"bundle": one.bundle, "public": one.public} for one in bundles(self._container, model, at)]

    def deprecate(
        self,
        model: str,
        at: str,
        *,
        on: datetime,
        reason: str,
        use: str = "",
        actor: str = "user",
    ) -> VersionShown:
        """Say from when on a version is not to be deployed anew."""
        from homeostat.app.registry.deprecation import deprecate

        return deprecate(self._container, model, at, on=on, reason=reason, use=use, actor=actor)

    def restore(self, model: str, at: str, *, reason: str = "", actor: str = "user") -> VersionShown:
        """Take a deprecation back; a rollout that waited begins."""
        from homeostat.app.reactors import react_all
        from homeostat.app.registry.deprecation import undo

        found = undo(self._container, model, at, reason=reason, actor=actor)
        react_all(self._container)
        return found

    def card(self, model: str, at: str = "latest") -> Card:
        """The model card of a version."""
        from homeostat.app.modelcard import card

        return card(self._container, model, at)

    def bill_of_materials(self, model: str, at: str = "latest") -> bytes:
        """The CycloneDX bill of materials of a version."""
        from homeostat.app.modelcard import bill_of_materials, card

        return bill_of_materials(card(self._container, model, at))

    def export(self, model: str, folder: Path, at: str = "latest", *, layout: Layout = "mlflow") -> int:
        """Write the files of a version into a folder; says how many."""
        from homeostat.app.registry.directories import export_files
        from homeostat.app.registry.trees import write_tree

        files = export_files(self._container, model, at, layout)
        write_tree(files, folder)
        return len(files)

    def import_directory(self, model: str, folder: Path) -> ModelVersion:
        """Make an MLflow model directory a version."""
        from homeostat.app.registry.directories import import_directory
        from homeostat.app.registry.trees import read_tree
        from homeostat.engine.registry.flavors import MLMODEL

        return import_directory(self._container, model, read_tree(folder, holding=MLMODEL))

    def promote(self, model: str, version: int, *, reason: str, actor: str = "user") -> Deployment:
        """Make a version the champion now."""
        from homeostat.app.rollouts import promote

        return promote(self._container, model, version, actor=actor, reason=reason)

    def rollback(self, deployment: str, *, reason: str, actor: str = "user") -> Deployment:
        """End a running canary, or go back to the champion before this one."""
        from homeostat.app.rollouts import rollback

        return rollback(self._container, deployment, actor=actor, reason=reason)
