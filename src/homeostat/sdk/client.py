"""A client of a running Homeostat: what the control API and the data plane offer, as Python calls.

Answers are the records of ``homeostat.domain.records``, or plain dictionaries where the shape is a page's. Errors
are the ones that the call would raise inside the server. A call that may be repeated safely is repeated while the
server restarts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import quote

import msgspec

from homeostat.domain.errors import NotFound
from homeostat.domain.events import Event, Verdict
from homeostat.domain.records import (
    DatasetVersion,
    Deployment,
    Evaluation,
    Run,
)
from homeostat.sdk.alerts import Alerts
from homeostat.sdk.explanations import Explanations
from homeostat.sdk.registry import Registry
from homeostat.sdk.rollouts import Rollouts
from homeostat.sdk.transport import ARROW, MSGPACK, Transport, arrow_of, objects_of

if TYPE_CHECKING:
    import polars as pl

    from homeostat.app.deliveries import Ingested
    from homeostat.app.reasons import Reason


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


class Client(Registry, Rollouts, Explanations, Alerts):
    """Speaks to one server. A context manager; safe for threads.

    Args:
        server: Its URL; by default the setting ``server``, else where the ``homeostat up`` of the home listens.
        timeout: Seconds to wait for an answer.
        patience: Seconds over which a repeatable call is repeated when the connection breaks.
    """

    def __init__(self, server: str | None = None, *, timeout: float = 120.0, patience: float = 20.0) -> None:
        from homeostat.app.running import server_of
        from homeostat.app.settings import Settings

        self.server = (server or server_of(Settings.load())).rstrip("/")
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
        actor: str = "user",
    ) -> Run:
        """Queue a training; ``using`` names a ``module:function`` of the project in place of the declared one."""
        body = {
            "reason": reason,
            "using": using,
            "params": dict(params or {}),
            "tags": dict(tags or {}),
            "actor": actor,
        }
        return self._post(f"/models/{quote(model)}/train", body, Run)

    def run(self, id: str) -> Run:
        """A run and how it stands."""
        return self._get(f"/runs/{quote(id)}", Run)

    def promote(
        self, model: str, version: int, *, reason: str = "asked for", actor: str = "user"
    ) -> Deployment:
        """Make a version the champion now, whatever a running rollout has found so far."""
        body = {"version": version, "reason": reason, "actor": actor}
        return self._post(f"/models/{quote(model)}/promote", body, Deployment)

    def rollback(self, deployment: str, *, reason: str = "asked for", actor: str = "user") -> Deployment:
        """End a running canary, or go back to the champion before this one."""
        body = {"reason": reason, "actor": actor}
        return self._post(f"/deployments/{quote(deployment)}/rollback", body, Deployment)

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

    def why(self, trigger: str, *, limit: int = 20, fired: bool = False) -> list[Evaluation]:
        """Each evaluation of a model's retraining rules and why it fired or did not, the newest first.

        Args:
            trigger: The model.
            limit: How many at most.
            fired: Only of rules that fired.
        """
        asked = {"limit": limit, "fired": "true" if fired else "false"}
        return self._get(f"/why/{quote(trigger)}", list[Evaluation], asked)

    def reason(self, ref: str) -> Reason:
        """Why a model version, run, deployment or model is as it is: a sentence, and the facts behind it.

        Args:
            ref: As ``model/churn@champion``, ``run/01J…``, ``deployment/churn`` or ``churn``.
        """
        from homeostat.app.reasons import Reason

        return self._get(f"/reasons/{quote(ref)}", Reason)

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
