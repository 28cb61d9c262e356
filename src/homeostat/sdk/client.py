"""A client of a running Homeostat: what the control API and the data plane offer, as Python calls.

Answers are the records of ``homeostat.domain.records``, or plain dictionaries where the shape is a page's. Errors
are the ones that the call would raise inside the server. A call that may be repeated safely is repeated while the
server restarts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar
from urllib.parse import quote

import msgspec

from homeostat.domain.errors import NotFound
from homeostat.domain.events import Event, Verdict
from homeostat.domain.records import (
    Alert,
    DatasetVersion,
    Deployment,
    Evaluation,
    GateResult,
    ModelVersion,
    Run,
)
from homeostat.sdk.transport import ARROW, MSGPACK, Transport, arrow_of, objects_of

if TYPE_CHECKING:
    import polars as pl

    from homeostat.app.approvals import Standing
    from homeostat.app.deliveries import Ingested
    from homeostat.app.registry.reading import VersionShown
    from homeostat.app.registry.reports import Compared, Live, Model, Models

T = TypeVar("T")


class Tick(msgspec.Struct, frozen=True):
    """What one turn of the controller did, and the runs that are queued or running after it."""

    busy: list[str] = []
    did: list[str] = []


class Parcel(msgspec.Struct, frozen=True):
    """Rows of one dataset in a delivery: a Polars or pandas frame, or a list of mappings, as the contract says.

    ``token`` names it: one that was seen before adds nothing. ``tags`` stay with what is stored and set aside.
    """

    dataset: str
    rows: Any
    token: str = ""
    tags: Mapping[str, str] = {}

    def handed(self) -> dict[str, Any]:
        """As it is sent."""
        return {
            "dataset": self.dataset,
            "rows": arrow_of(self.rows),
            "token": self.token,
            "tags": dict(self.tags),
        }


class Client:
    """Speaks to one server. A context manager; safe for threads.

    Args:
        server: Its URL; by default the setting ``server``, else the address that ``homeostat up`` listens on.
        timeout: Seconds to wait for an answer.
        patience: Seconds over which a repeatable call is repeated when the connection breaks.
    """

    def __init__(self, server: str | None = None, *, timeout: float = 120.0, patience: float = 20.0) -> None:
        from homeostat.app.settings import Settings

        self.server = (server or Settings.load().server).rstrip("/")
        self._transport = Transport(self.server, timeout=timeout, patience=patience)
        self._urls: dict[str, str] = {}

    def close(self) -> None:
        """Give back the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # What runs

    def health(self) -> dict[str, Any]:
        """``{"status": "ok", "now", "clock", …}``.

        Raises:
            StoreUnavailable: nothing answers, or the server cannot reach its store.
        """
        return self._get("/health", dict[str, Any])

    def status(self) -> dict[str, Any]:
        """What runs where: datasets, models, deployments, rollouts, alerts, processes."""
        return self._get("/status", dict[str, Any])

    def deployments(self) -> list[dict[str, Any]]:
        """Each deployment with ``name``, ``model``, ``generation``, ``arms`` and the ``url`` that predicts."""
        return self._get("/deployments", list[dict[str, Any]])

    def alerts(self) -> list[Alert]:
        """Every alert, the newest first."""
        return self._get("/alerts", list[Alert])

    # Data

    def ingest(
        self,
        dataset: str,
        rows: pl.DataFrame | Sequence[Mapping[str, Any]] | Any,
        *,
        token: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> Ingested:
        """Deliver rows.

        Args:
            dataset: Its name.
            rows: A Polars or pandas frame, or a list of mappings; columns as in the contract.
            token: A name for this delivery: one that was seen before adds nothing, so it may be sent again.
            tags: Marks that stay with the delivery.

        Raises:
            NotFound: no applied project declares the dataset.
            ContractBroken: a column is missing or unknown; nothing is stored.
        """
        from homeostat.app.deliveries import Ingested

        query = ({"token": token} if token else {}) | {f"tag.{k}": v for k, v in (tags or {}).items()}
        answer = self._transport.send(
            "POST",
            f"/datasets/{quote(dataset)}/rows",
            content=arrow_of(rows),
            headers={"content-type": ARROW},
            params=query,
            repeatable=bool(token),
        )
        return msgspec.json.decode(answer, type=Ingested)

    def deliver(self, parcels: Sequence[Parcel]) -> list[Ingested]:
        """Deliver rows of several datasets, which are stored together or not at all.

        Args:
            parcels: At most one for each dataset. Where each has a token, the delivery may be sent again.

        Returns:
            What became of each, in the order of ``parcels``.

        Raises:
            NotFound: no applied project declares a dataset.
            ContractBroken: a column is missing or unknown; nothing is stored.
        """
        from homeostat.app.deliveries import Ingested

        answer = self._transport.send(
            "POST",
            "/deliveries",
            content=msgspec.msgpack.encode({"parcels": [parcel.handed() for parcel in parcels]}),
            headers={"content-type": MSGPACK},
            repeatable=all(parcel.token for parcel in parcels),
        )
        return msgspec.json.decode(answer, type=list[Ingested])

    def seal(self, dataset: str) -> DatasetVersion | None:
        """Make what has arrived the dataset's next version; None while it has no rows."""
        answer = self._transport.send("POST", f"/datasets/{quote(dataset)}/seal", repeatable=True)
        return msgspec.json.decode(answer, type=DatasetVersion | None)

    # Models

    def train(
        self,
        model: str,
        *,
        reason: str = "asked for",
        using: str = "",
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Run:
        """Queue a training; ``using`` names a ``module:function`` of the project in place of the declared one."""
        body = {"reason": reason, "using": using, "params": dict(params or {}), "tags": dict(tags or {})}
        return self._post(f"/models/{quote(model)}/train", body, Run)

    def run(self, id: str) -> Run:
        """A run and how it stands."""
        return self._get(f"/runs/{quote(id)}", Run)

    def versions(self, model: str) -> list[ModelVersion]:
        """The versions of a model, the newest first."""
        return self._get(f"/models/{quote(model)}/versions", list[ModelVersion])

    def models(self, filter: str = "", *, limit: int = 20) -> Models:
        """Registered models by name, declared in a project or not; a filter as ``name LIKE 'churn%'``."""
        from homeostat.app.registry.reports import Models

        return self._get("/models", Models, {"filter": filter, "limit": limit})

    def model(self, name: str, *, limit: int = 20) -> Model:
        """A registered model with its newest versions.

        Raises:
            NotFound: there is none of this name.
        """
        from homeostat.app.registry.reports import Model

        return self._get(f"/models/{quote(name)}", Model, {"limit": limit})

    def version(self, name: str, at: str = "latest") -> VersionShown:
        """A version by its number, or the one that an alias points to."""
        from homeostat.app.registry.reading import VersionShown

        return self._get(f"/models/{quote(name)}/versions/{quote(at)}", VersionShown)

    def live_at(self, name: str, at: datetime, *, alias: str = "champion") -> Live:
        """What an alias of a model pointed to at a time, and what its deployment served then."""
        from homeostat.app.registry.reports import Live

        return self._get(f"/models/{quote(name)}/live", Live, {"at": at.isoformat(), "alias": alias})

    def compare(self, old: str, new: str) -> Compared:
        """What two versions differ in, such as ``model/churn@3`` and ``model/churn@champion``."""
        from homeostat.app.registry.reports import Compared

        return self._get("/compare", Compared, {"old": old, "new": new})

    def gates(self, model: str, version: int) -> list[GateResult]:
        """The verdict of each gate on a version, with its evidence."""
        return self._get(f"/models/{quote(model)}/versions/{version}/gates", list[GateResult])

    def approve(
        self, model: str, version: int, *, reason: str, actor: str = "user", digest: str = ""
    ) -> Standing:
        """Agree to a version that passed its gates; ``digest`` is that of the package that was looked at."""
        from homeostat.app.approvals import Standing

        body = {"reason": reason, "actor": actor, "digest": digest}
        path = f"/models/{quote(model)}/versions/{version}/approve"
        return self._post(path, body, Standing, repeatable=True)

    def approvals(self, model: str, version: int) -> Standing:
        """How a version stands with its approvals."""
        from homeostat.app.approvals import Standing

        return self._get(f"/models/{quote(model)}/versions/{version}/approvals", Standing)

    def export(self, model: str, at: str = "latest", *, layout: str = "mlflow") -> bytes:
        """The files of a version as a tar file.

        Args:
            model: Its name.
            at: A number or an alias.
            layout: ``mlflow``: an MLflow model directory; ``package``: the files as they are kept.
        """
        path = f"/models/{quote(model)}/versions/{quote(at)}/files"
        return self._transport.send("GET", path, params={"layout": layout}, repeatable=True)

    def import_directory(self, model: str, tar: bytes) -> ModelVersion:
        """Make an MLflow model directory, sent as a tar file, a version; the same again gives the same version."""
        answer = self._transport.send("POST", f"/models/{quote(model)}/import", content=tar, repeatable=True)
        return msgspec.json.decode(answer, type=ModelVersion)

    def promote(self, model: str, version: int, *, reason: str = "asked for") -> Deployment:
        """Make a version the champion now, whatever a running rollout has found so far."""
        return self._post(
            f"/models/{quote(model)}/promote", {"version": version, "reason": reason}, Deployment
        )

    def rollback(self, deployment: str, *, reason: str = "asked for") -> Deployment:
        """End a running canary, or go back to the champion before this one."""
        return self._post(f"/deployments/{quote(deployment)}/rollback", {"reason": reason}, Deployment)

    # Predictions

    def predict(self, deployment: str, rows: Any, *, explain: bool = False) -> Any:
        """Ask a deployment.

        Args:
            deployment: Its name.
            rows: One row as a mapping gives one answer; a list of them or a frame gives a list of answers.
            explain: Also the features that each answer was computed from.

        Returns:
            ``{"prediction_id", "deployment", "version", "arm", "score"}``, one or a list.

        Raises:
            BadRequest: a row breaks the contract; names the field.
            NotFound: there is no such deployment.
            StoreUnavailable: it has no version that can answer yet.
        """
        one = isinstance(rows, Mapping)
        body = msgspec.json.encode(rows if one else {"instances": objects_of(rows)})
        if deployment not in self._urls:
            self._urls |= {item["name"]: item["url"] for item in self.deployments()}
        if deployment not in self._urls:
            known = ", ".join(sorted(self._urls)) or "none"
            raise NotFound(f"there is no deployment/{deployment}", remedy=f"Known: {known}")
        # Asking twice would be counted twice, so an answer that was lost on the way is an error.
        answer = self._transport.send(
            "POST", self._urls[deployment], content=body, params={"explain": "features"} if explain else {}
        )
        found = msgspec.json.decode(answer)
        return found if one else found["predictions"]

    def prediction(self, id: str) -> dict[str, Any]:
        """What stands behind a prediction: version, run, code, feature rows, dataset versions."""
        return self._get(f"/predictions/{quote(id)}", dict[str, Any])

    # Reasons

    def why(self, trigger: str, *, limit: int = 20) -> list[Evaluation]:
        """Each evaluation of a model's retraining rules and why it fired or did not, the newest first."""
        return self._get(f"/why/{quote(trigger)}", list[Evaluation], {"limit": limit})

    def lineage(self, ref: str, direction: Literal["up", "down", "both"] = "both") -> dict[str, Any]:
        """What ``ref`` came from (up) and what came of it (down), as a tree."""
        return self._get("/lineage", dict[str, Any], {"ref": ref, "direction": direction})

    def events(self, *, subject: str = "", kinds: Sequence[str] = (), limit: int = 20) -> list[Event]:
        """Events of the ledger, the newest first."""
        query = {"subject": subject, "kind": list(kinds), "limit": limit}
        return self._get("/ledger", list[Event], query)

    def verify(self) -> Verdict:
        """Walk the ledger's hash chain; names the first event that does not hold."""
        return self._get("/ledger/verify", Verdict)

    # The simulated clock

    def tick(self) -> Tick:
        """Let the controller do one turn; only under the simulated clock."""
        return self._post("/tick", {}, Tick, repeatable=True)

    def set_clock(self, now: datetime) -> datetime:
        """Move the simulated clock forward."""
        return self._post("/clock", {"now": now}, dict[str, datetime], repeatable=True)["now"]

    def _get(self, path: str, kind: type[T], query: Mapping[str, Any] | None = None) -> T:
        return msgspec.json.decode(
            self._transport.send("GET", path, params=query or {}, repeatable=True), type=kind
        )

    def _post(self, path: str, body: Any, kind: type[T], *, repeatable: bool = False) -> T:
        answer = self._transport.send(
            "POST",
            path,
            content=msgspec.json.encode(body),
            headers={"content-type": "application/json"},
            repeatable=repeatable,
        )
        return msgspec.json.decode(answer, type=kind)
