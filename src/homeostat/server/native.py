"""Homeostat's own calls: what is asked of data, runs, models, deployments, alerts and the ledger.

With what they work with, they take as long to import as all else of a start: whoever starts asks for them last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from homeostat.app import approvals, explain, reasons, rollouts, training
from homeostat.app.controller import Controller
from homeostat.app.datasets import seal
from homeostat.app.deliveries import Parcel, deliver, ingest
from homeostat.app.reading import find_dataset
from homeostat.app.registry import reading
from homeostat.app.workers import workers
from homeostat.domain import records
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.server import alerts, events, explanations, packages, registry, tracking
from homeostat.server import rollouts as served
from homeostat.server.calls import (
    TAR,
    Call,
    Consent,
    Handed,
    Moment,
    Promotion,
    Return,
    Training,
    rows_of,
    table_of,
)
from homeostat.server.described import openapi
from homeostat.server.endpoints import JSON, Endpoints
from homeostat.server.http import HttpError, Receive, Scope, Send
from homeostat.server.telemetry import Telemetry

if TYPE_CHECKING:
    from homeostat.adapters.clock import SimulatedClock
    from homeostat.app.container import Container

# Bytes of a body: it is held in memory, so what needs no more gets no more.
_BATCH: Final = 64 << 20
_DATA: Final = 1 << 30
_METHODS: Final = ("DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT")


class Native:
    """The ASGI application of these calls, and what it has for others.

    Args:
        container: The ports.
        endpoints: Makes routes of calls.
        health: The route that answers already.

    Attributes:
        controller: What ``POST /tick`` turns.
        telemetry: What ``GET /metrics`` tells.
    """

    def __init__(self, container: Container, endpoints: Endpoints, health: Route) -> None:
        self._container = container
        self._endpoints = endpoints
        self._health = health
        self.controller = Controller(container)
        self.telemetry = Telemetry(container)
        self._router = Router(self._routes())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)

    def _routes(self) -> list[Route]:
        get, post = self._endpoints.get, self._endpoints.post

        def of(work: Callable[[Container, Call], Any]) -> Callable[[Call], Any]:
            return partial(work, self._container)

        return [
            post("/deliveries", self._deliver, _DATA),  # first: what is called the most
            post("/datasets/{name}/rows", self._ingest, _DATA),
            post("/tick", self._tick),
            post("/clock", self._set_clock),
            post("/datasets/{name}/seal", self._seal),
            post("/models/{name}/train", self._train),
            post("/models/{name}/promote", self._promote),
            post("/deployments/{name}/rollback", self._rollback),
            post("/freeze", of(served.freeze)),
            post("/unfreeze", of(served.unfreeze)),
            get("/deployments/{name}/rollouts", of(served.listed)),
            get("/deployments/{name}/quality", of(served.assessed)),
            get("/deployments/{name}/importance", of(explanations.important)),
            get("/deployments/{name}/shadow", of(served.agreement)),
            post("/deployments/{name}/shadow", of(served.shadow)),
            post("/deployments/{name}/shadow/stop", of(served.stop_shadow)),
            post("/deployments/{name}/labels", of(served.label), _BATCH),
            self._health,
            get("/openapi.json", lambda _: openapi(self._routes()[:-1])),
            get("/status", lambda _: explain.status(self._container)),
            get("/deployments", self._deployments),
            get("/runs/{id}", self._run),
            get("/runs/{id}/log", of(tracking.position)),
            post("/runs/{id}/log", of(tracking.take), _BATCH),
            post("/runs/search", of(tracking.search)),
            post("/runs/best", of(tracking.best)),
            get("/runs/{id}/summary", of(tracking.summary)),
            get("/runs/{id}/points", of(tracking.points)),
            get("/runs/{id}/points/all", of(tracking.all_points)),
            get("/runs/{id}/values", of(tracking.values)),
            get("/runs/{id}/files", of(tracking.files)),
            get("/models", of(registry.models)),
            get("/models/{name}", of(registry.model)),
            get("/models/{name}/live", of(registry.live)),
            get("/models/{name}/versions", self._versions),
            get("/models/{name}/versions/{version}", of(registry.version)),
            post("/models/{name}/alias", of(registry.alias)),
            post("/models/{name}/mark", of(registry.mark)),
            get("/compare", of(registry.compared)),
            get("/models/{name}/versions/{version:int}/gates", self._gates),
            get("/models/{name}/versions/{version}/files", of(packages.export), media=TAR),
            get("/models/{name}/versions/{version}/card", of(packages.card)),
            get("/models/{name}/versions/{version}/bom", of(packages.bom)),
            get("/models/{name}/versions/{version}/signatures", of(packages.signed)),
            get("/models/{name}/versions/{version}/bundles", of(packages.bundles)),
            post("/models/{name}/versions/{version}/signatures", of(packages.sign)),
            post("/models/{name}/versions/{version}/deprecate", of(registry.deprecate)),
            post("/models/{name}/versions/{version}/restore", of(registry.restore)),
            get("/models/{name}/versions/{version:int}/approvals", self._approvals),
            post("/models/{name}/versions/{version:int}/approve", self._approve),
            post("/models/{name}/import", of(packages.take), None),
            get("/alerts", of(alerts.listed)),
            get("/alerts/{id}", of(alerts.shown)),
            post("/alerts/{id}/acknowledge", of(alerts.acknowledge)),
            get("/incidents", of(alerts.incidents)),
            get("/silences", of(alerts.silences)),
            post("/silences", of(alerts.silence)),
            post("/silences/{id}/end", of(alerts.end_silence)),
            get("/channels", of(alerts.channels)),
            Route("/metrics", self._metrics, methods=["GET"]),
            post("/events", of(events.take)),
            get("/slo", of(alerts.levels)),
            get("/why/{trigger:path}", self._why),
            get("/reasons/{ref:path}", lambda call: reasons.reason(self._container, call.path["ref"])),
            get("/lineage", self._lineage),
            get("/predictions/{id}/replay", of(served.replay)),
            get("/predictions/{id}/explanation", of(explanations.explained)),
            get("/predictions/{id}", lambda call: explain.trace(self._container, call.path["id"])),
            get("/ledger", self._events),
            get("/ledger/verify", lambda _: self._container.ledger.verify()),
            Route("/{path:path}", self._nothing, methods=_METHODS),
        ]

    async def _metrics(self, request: Request) -> Response:
        accept = request.headers.get("accept", "")
        loop = asyncio.get_running_loop()
        text, media = await loop.run_in_executor(self._endpoints.pool, self.telemetry.exposition, accept)
        return Response(text, headers={"content-type": media})

    async def _nothing(self, request: Request) -> Response:
        path = request.url.path
        found = [route for route in self._routes()[:-1] if route.path_regex.match(path)]
        allowed = ", ".join(sorted({method for route in found for method in route.methods or ()}))
        if allowed:
            error = HttpError(
                405, "wrong_method", f"{request.method} {path} is no call", remedy=f"Use {allowed}"
            )
            return Response(error.body(), error.status, {"allow": allowed}, JSON)
        error = HttpError(404, "not_found", f"there is nothing at {path}", remedy="See GET /openapi.json")
        return Response(error.body(), error.status, media_type=JSON)

    @property
    def _store(self) -> Any:
        return self._container.store

    def _ingest(self, call: Call) -> Any:
        tags = {k.removeprefix("tag."): v for k, v in call.query.items() if k.startswith("tag.")}
        return ingest(
            self._container, call.path["name"], rows_of(call), token=call.query.get("token", ""), tags=tags
        )

    def _seal(self, call: Call) -> records.DatasetVersion | None:
        return seal(self._container, find_dataset(self._container, call.path["name"]).name)

    def _deliver(self, call: Call) -> Any:
        parcels = [
            Parcel(one.dataset, table_of(one.rows), one.token, one.tags) for one in call.read(Handed).parcels
        ]
        return deliver(self._container, parcels)

    def _tick(self, _: Call) -> Any:
        self._simulated()
        return self.controller.tick()

    def _set_clock(self, call: Call) -> dict[str, datetime]:
        clock = self._simulated()
        now = call.read(Moment).now
        if now.tzinfo is None:
            raise BadRequest("now has no time zone", field="now", remedy="Write it as 2013-01-01T00:00:00Z")
        clock.set(now)
        return {"now": clock.now()}

    def _simulated(self) -> SimulatedClock:
        if self._container.settings.clock != "simulated":
            raise Conflict(
                "the clock is the system's, which nobody moves",
                remedy="Start with --clock simulated to drive the time",
            )
        return cast("SimulatedClock", self._container.clock)

    def _deployments(self, _: Call) -> list[dict[str, Any]]:
        settings = self._container.settings
        port = next(
            (w.detail["port"] for w in workers(self._container) if "port" in w.detail), settings.serve_port
        )
        base = f"{settings.server.rpartition(':')[0]}:{port}"
        found = self._store.find(records.Deployment)
        return [msgspec.to_builtins(one) | {"url": f"{base}/predict/{one.name}"} for one in found]

    def _train(self, call: Call) -> records.Run:
        wanted = call.read(Training)
        return training.submit(
            self._container,
            call.path["name"],
            reason=wanted.reason,
            using=wanted.using,
            params=wanted.params,
            tags=wanted.tags,
            actor=wanted.actor,
        )

    def _run(self, call: Call) -> records.Run:
        found = self._store.get(records.Run, call.path["id"].removeprefix("run/"))
        if found is None:
            raise NotFound(f"there is no run/{call.path['id']}", remedy="See GET /status for those there are")
        return cast("records.Run", found)

    def _versions(self, call: Call) -> list[records.ModelVersion]:
        return reading.records_of(self._store, call.path["name"])

    def _gates(self, call: Call) -> list[records.GateResult]:
        return reading.verdicts(self._store, call.path["name"], call.path["version"])

    def _promote(self, call: Call) -> records.Deployment:
        wanted = call.read(Promotion)
        return rollouts.promote(
            self._container, call.path["name"], wanted.version, actor=wanted.actor, reason=wanted.reason
        )

    def _approvals(self, call: Call) -> approvals.Standing:
        return approvals.standing(self._container, call.path["name"], call.path["version"])

    def _approve(self, call: Call) -> approvals.Standing:
        said = call.read(Consent)
        return approvals.approve(
            self._container,
            call.path["name"],
            call.path["version"],
            actor=said.actor,
            reason=said.reason,
            digest=said.digest,
        )

    def _rollback(self, call: Call) -> records.Deployment:
        said = call.read(Return)
        return rollouts.rollback(self._container, call.path["name"], actor=said.actor, reason=said.reason)

    def _why(self, call: Call) -> Any:
        return explain.why(
            self._container,
            call.path["trigger"],
            limit=call.limit(),
            fired=call.flag("fired"),
        )

    def _lineage(self, call: Call) -> Any:
        direction = call.query.get("direction", "both")
        if direction not in ("up", "down", "both"):
            raise BadRequest(
                f"{direction!r} is no direction", field="direction", remedy="Use up, down or both"
            )
        return explain.lineage(self._container, call.query.get("ref", ""), cast("Any", direction))

    def _events(self, call: Call) -> Any:
        return self._container.ledger.find(
            subject=call.query.get("subject") or None,
            kinds=call.query.getlist("kind"),
            limit=call.limit(),
        )
