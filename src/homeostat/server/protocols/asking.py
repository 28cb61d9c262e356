"""What every protocol does: find the deployment and the version, ask it, and say what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from homeostat.domain.errors import BadRequest, FeaturesMissing
from homeostat.domain.refs import number_of
from homeostat.engine.serving.endpoint import settled
from homeostat.engine.serving.tracing import Trace
from homeostat.server.http import HttpError

if TYPE_CHECKING:
    from homeostat.engine.serving.endpoint import Done, Endpoint, Live
    from homeostat.engine.serving.plane import Plane
    from homeostat.engine.serving.predictions import Prediction

DEGRADED: Final = b"homeostat-degraded"
_FRESH: Final = 1.0
TRACE: Final[ContextVar[Trace | None]] = ContextVar("TRACE", default=None)
"""The trace of the request that is being answered, if it has one."""


class Found(NamedTuple):
    """Whom a request asks, and when it came."""

    name: str
    endpoint: Endpoint
    live: Live
    at: datetime
    started: float


class Asking:
    """Finds deployments and asks them.

    Args:
        plane: What answers.
    """

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self._probed: dict[str, tuple[Live, float, str]] = {}

    def find(self, name: str, version: str = "") -> Found:
        """A deployment, or one version of it, as it is now: after an await it may be gone, or other versions serve.

        Raises:
            HttpError: 404, there is none of that name, or it does not serve that version; 503, it cannot answer yet.
        """
        plane = self.plane
        endpoint = plane.endpoints.get(name)
        if endpoint is None:
            raise self._nowhere(name)
        live: Live | None = endpoint.live
        if version:
            number = number_of(version)
            live = None if number is None else endpoint.live.pinned(number)
        if live is None:
            served = ", ".join(str(arm.version) for arm in endpoint.live.routes.arms)
            raise HttpError(
                404,
                "unknown_version",
                f"deployment/{name} does not serve version {version[:20]}",
                remedy=f"It serves {served}",
            )
        return Found(name, endpoint, live, plane.clock.now(), plane.clock.monotonic())

    def only(self) -> Found:
        """The one deployment there is, for protocols whose paths name none.

        Raises:
            HttpError: 400, there are several; 503, it cannot answer yet.
        """
        names = list(self.plane.names)
        if len(names) != 1:
            raise HttpError(
                400 if names else 503,
                "unnamed_deployment" if names else "not_ready",
                f"{len(names) or 'no'} deployments are served here and the path names none",
                remedy=f"Name one: ?deployment=NAME of {', '.join(sorted(names))}"
                if names
                else "Try again shortly",
                headers=[] if names else [(b"retry-after", b"1")],
            )
        return self.find(names[0])

    async def ready(self) -> None:
        """Return where every deployment gives a real prediction.

        Raises:
            HttpError: 503, one does not.
        """
        plane = self.plane
        trouble = plane.trouble
        if not plane.ready:
            trouble = trouble or "a deployment has no version that can answer"
        for name in [] if trouble else list(plane.endpoints):
            trouble = trouble or await self._trouble(name, plane.endpoints[name])
        if trouble:
            raise HttpError(
                503, "not_ready", trouble, remedy="Wait, or see errors", extra={"errors": plane.errors}
            )

    async def probe(self, found: Found) -> None:
        """Return where one deployment gives a real prediction.

        Raises:
            HttpError: 503, it does not.
        """
        if trouble := await self._trouble(found.name, found.endpoint):
            raise HttpError(503, "not_ready", trouble, remedy="Wait, or see the log of the server")

    async def _trouble(self, name: str, endpoint: Endpoint) -> str:
        """What the last prediction of its kind came to: asked once a second, however many want to know."""
        live, now = endpoint.live, self.plane.clock.monotonic()
        known = self._probed.get(name)
        if known is not None and known[0] is live and now < known[1] + _FRESH:
            return known[2]
        trouble = await endpoint.probe()
        trouble = trouble and f"deployment/{name}: {trouble}"
        self._probed[name] = (live, now, trouble)
        return trouble

    async def ask(self, found: Found, rows: Sequence[Any], *, many: bool) -> list[Prediction]:
        """The decided predictions of checked rows, in order; all have answers.

        Args:
            many: Whether the client gave a list, so that an error names the row.

        Raises:
            HttpError: too much waits, or a row cannot be scored.
        """
        items = await self.submit(found, rows)
        settle(items, many)
        return items

    def submit(self, found: Found, rows: Sequence[Any]) -> asyncio.Future[list[Prediction]]:
        """Put checked rows in line.

        Raises:
            HttpError: too much waits.
        """
        future: asyncio.Future[list[Prediction]] = asyncio.get_running_loop().create_future()
        trace = TRACE.get()

        def done(decided: list[Prediction] | Exception) -> None:
            # Where the caller went away meanwhile, the trace has ended.
            if trace is not None and not isinstance(decided, Exception) and not future.done():
                trace.took(decided)
            settled(future, decided)

        if trace is not None:
            trace.deployment = found.name
        self.put(found, rows, done)
        return future

    def put(self, found: Found, rows: Sequence[Any], done: Done) -> None:
        """As ``submit``, for who is called back.

        Raises:
            HttpError: too much waits.
        """
        try:
            found.endpoint.put(rows, found.live, found.at, found.started, done)
        except asyncio.QueueFull:
            raise _overloaded(found.endpoint) from None

    def _nowhere(self, name: str) -> HttpError:
        plane = self.plane
        if plane.known(name) or plane.trouble:
            return HttpError(
                503,
                "not_ready",
                plane.errors.get(name, "") or f"deployment/{name} has no version that can answer yet",
                remedy="Try again shortly",
                headers=[(b"retry-after", b"1")],
            )
        known = ", ".join(sorted(plane.endpoints)) or "none yet"
        return HttpError(
            404, "unknown_deployment", f"there is no deployment/{name}", remedy=f"Known: {known}"
        )


def refused(error: BadRequest) -> HttpError:
    """What a request that breaks its contract, or is no JSON, is answered with."""
    code = "invalid_json" if type(error) is not BadRequest else "invalid_request"
    return HttpError(400, code, error.message, field=error.field, remedy=error.remedy)


def sentence(error: HttpError) -> str:
    """An error as one text, for protocols that have no room for more."""
    where = f"{error.field}: " if error.field else ""
    return f"{where}{error.message}. {error.remedy}" if error.remedy else f"{where}{error.message}"


def settle(items: list[Prediction], many: bool) -> None:
    """Return where the rows of a request have answers.

    Raises:
        HttpError: one cannot be scored, and takes the others with it.
    """
    if items[0].status != 200 and items[0].fallback is None:
        raise _failed(items, many)


def marks(items: Sequence[Prediction]) -> list[tuple[bytes, bytes]] | None:
    """The header of an answer that is a fallback's, which names it; None where all are those of versions."""
    for item in items:  # nearly always all of them, so by the least work
        if item.fallback is not None:
            return [(DEGRADED, fallbacks(items).encode())]
    return None


def fallbacks(items: Sequence[Prediction]) -> str:
    """Which fallbacks answered rows of a request."""
    return ", ".join(dict.fromkeys(item.fallback for item in items if item.fallback is not None))


def _failed(items: list[Prediction], many: bool) -> HttpError:
    # Where another arm failed and the champion answered, that row is not at fault.
    place, item = next(
        (n, item) for n, item in enumerate(items) if item.error is not None and item.answered is item.arm
    )
    kind = {422: "unprocessable_row", 503: "features_unavailable"}.get(item.status, "prediction_failed")
    field = getattr(item.error, "field", "")
    why, remedy = str(item.error), "Try again; the prediction log, if there is one, holds it"
    if isinstance(item.error, FeaturesMissing):
        why, remedy = item.error.message, item.error.remedy
    if many:
        field = f"instances[{place}].{field}" if field else f"instances[{place}]"
    return HttpError(
        item.status,
        kind,
        f"the model could not score this row: {type(item.error).__name__}: {why}"[:500],
        field=field,
        remedy="Correct the row" if item.status == 422 else remedy,
        extra={"prediction_id": item.id},
        headers=[(b"retry-after", b"1")] if item.status == 503 else None,
    )


def _overloaded(endpoint: Endpoint) -> HttpError:
    return HttpError(
        503,
        "overloaded",
        f"{endpoint.waiting} rows wait already",
        remedy="Try again shortly, or run more workers",
        headers=[(b"retry-after", b"1")],
    )
