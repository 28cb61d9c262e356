"""The data plane of one process: every deployment's endpoint, kept equal to what the store says.

A version is loaded and answers a warm-up request before it takes traffic. One that cannot leaves the arms as
they were; where there are none yet, what the deployment falls back on answers in its place. Loading runs in a thread,
the exchange is one assignment: no request waits for it or fails by it. Each deployment follows by itself: one whose
version takes long to load keeps no other from a rollback, nor itself from a newer state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from typing import Any, Final

import msgspec

from homeostat.domain.contracts import attribute
from homeostat.domain.declarations.fallback import Fallback
from homeostat.domain.records import Deployment
from homeostat.engine.serving.endpoint import Endpoint, Live
from homeostat.engine.serving.fallbacks import Kind, Rescuer, Unloaded
from homeostat.engine.serving.log import CAPACITY, PredictionLog, Sink
from homeostat.engine.serving.predictions import Prediction, message
from homeostat.engine.serving.requests import RequestReader, merged
from homeostat.engine.serving.routing import LiveArm, Routes
from homeostat.engine.serving.scorer import Loaded, Scorer
from homeostat.engine.serving.tracing import Tracer
from homeostat.engine.serving.versions import Versions
from homeostat.ports.clock import Clock

_RETRY: Final = 10.0

_log = logging.getLogger(__name__)


class Synced(msgspec.Struct, frozen=True):
    """What a sync left: the generation that each deployment serves (0: not all of any) and what failed."""

    generation: dict[str, int]
    flushed: int
    errors: dict[str, str]


class _Failure(msgspec.Struct, frozen=True):
    again_at: float
    text: str


class Spares(msgspec.Struct, frozen=True):
    """Where fallbacks come from.

    Args:
        previous: The version before a deployment's champion; 0 where there is none.
        describe: What a request of a version must hold, without its model; may raise anything.
    """

    previous: Callable[[Deployment], int]
    describe: Callable[[str, int], Loaded]


class Plane:
    """Endpoints by deployment and the prediction log they share. Belongs to one event loop.

    Args:
        clock: World and monotonic time.
        source: Reads the deployments from the store.
        load: Loads a version of a model, checked; may raise anything.
        sink: Keeps a frame of a deployment's predictions; None: nobody does.
        capacity: The most predictions that wait for the sink.
        tracer: Says which requests are traced; None: none.
        spares: What deployments fall back on; None: on nothing.
    """

    def __init__(
        self,
        clock: Clock,
        source: Callable[[], Sequence[Deployment]],
        load: Callable[[str, int], Loaded],
        sink: Sink | None,
        *,
        capacity: int = CAPACITY,
        tracer: Tracer | None = None,
        spares: Spares | None = None,
    ) -> None:
        self.clock = clock
        self.endpoints: dict[str, Endpoint] = {}
        self.log = PredictionLog(sink or _nowhere, capacity=capacity)
        self._logging = sink is not None
        self.tracer = tracer or Tracer(clock)
        self.tracer.logged = self._logging
        self.trouble = "the store has not been read yet"
        self._source = source
        self._spares = spares
        self._deployments: dict[str, Deployment] = {}
        self._failures: dict[str, _Failure] = {}
        self._versions = Versions(load, clock)
        self._reading = asyncio.Lock()  # what was read first is applied first
        self._following: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    def known(self, deployment: str) -> bool:
        """Whether the store has this deployment, ready or not."""
        return deployment in self._deployments

    @property
    def names(self) -> list[str]:
        """The deployments that have versions, ready or not."""
        return [name for name, deployment in self._deployments.items() if deployment.arms]

    @property
    def ready(self) -> bool:
        """Whether every deployment that has arms answers."""
        return not self.trouble and all(
            name in self.endpoints for name, deployment in self._deployments.items() if deployment.arms
        )

    @property
    def errors(self) -> dict[str, str]:
        """Why a deployment does not serve all that the store says, shadows and fallbacks too, by deployment."""
        return {name: failure.text for name, failure in self._failures.items()}

    @property
    def generations(self) -> dict[str, int]:
        """The generation that each deployment serves."""
        return {
            name: self.endpoints[name].live.generation if name in self.endpoints else 0
            for name in self._deployments
        }

    async def sync(self, *, force: bool = True) -> Synced:
        """Bring the endpoints up to the store and write out the log.

        Args:
            force: Also try again at once what failed a moment ago.

        Raises:
            StoreUnavailable: the store does not answer; the endpoints are as they were.
        """
        await self.follow(force=force)
        return Synced(self.generations, await self.flush(), self.errors)

    async def follow(self, *, force: bool = False) -> None:
        """Bring the endpoints up to the store; returns once every deployment is, or could not be.

        Args:
            force: Also try again at once what failed a moment ago.

        Raises:
            StoreUnavailable: the store does not answer; the endpoints are as they were.
        """
        went_on = await self.look(force=force)
        await self._settled()
        if force and went_on & self._failures.keys():
            # What failed may have begun before the caller mended it.
            await self.look(force=True)
            await self._settled()

    async def look(self, *, force: bool = False) -> Set[str]:
        """Read the store, and begin to bring up what is not; returns the deployments for which that goes on already.

        Raises:
            StoreUnavailable: the store does not answer; the endpoints are as they were.
        """
        async with self._reading:
            found = {d.name: d for d in await asyncio.to_thread(self._source)}
            if self._closed:
                return set()
            went_on = set()
            for name, deployment in found.items():
                if self._deployments.get(name) == deployment:
                    if name in self._following:
                        went_on.add(name)
                        continue
                    failure = self._failures.get(name)
                    if failure is None or (not force and self.clock.monotonic() < failure.again_at):
                        continue
                self._deployments[name] = deployment
                self._begin(name, self._bring(deployment))
            for name in self._deployments.keys() - found.keys():
                del self._deployments[name]
                self._failures.pop(name, None)
                self._begin(name, self._remove(name))
            self.trouble = ""
            return went_on

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Let a deployment follow to its newest state, and no longer to the one before."""
        before = self._following.pop(name, None)
        if before is not None:
            before.cancel()
        task = self._following[name] = asyncio.create_task(work)
        task.add_done_callback(partial(self._done, name))

    def _done(self, name: str, task: asyncio.Task[None]) -> None:
        if self._following.get(name) is task:
            del self._following[name]
        self._forget()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("deployment/%s could not follow the store", name, exc_info=error)

    async def _settled(self) -> None:
        """Return once no deployment follows to another state any more."""
        while self._following:
            await asyncio.wait(self._following.values())

    async def flush(self) -> int:
        """Write out every prediction answered so far; returns how many rows the sink took."""
        for endpoint in list(self.endpoints.values()):
            await endpoint.drain()
        return await asyncio.to_thread(self.log.flush)

    async def close(self) -> None:
        """Finish what waits, stop every endpoint and write out the log. What is being loaded is not waited for."""
        self._closed = True
        following = list(self._following.values())
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        self._versions.close()
        for name in list(self.endpoints):
            await self._remove(name)
        await asyncio.gather(*self._ending)
        await asyncio.to_thread(self.log.flush)

    async def _bring(self, deployment: Deployment) -> None:
        try:
            await self._apply(deployment)
        except Exception as error:  # noqa: BLE001 - one deployment's trouble is not the others', nor for ever
            _log.warning("deployment/%s could not follow the store", deployment.name, exc_info=error)
            again_at = self.clock.monotonic() + _RETRY
            self._failures[deployment.name] = _Failure(again_at, message(error))

    async def _apply(self, deployment: Deployment) -> None:
        name = deployment.name
        loaded: dict[int, Loaded] = {}
        problems: dict[int, str] = {}
        # What keeps nobody from being answered: it is told, and tried again all the same.
        lacking: list[str] = []
        for arm in deployment.arms:
            try:
                loaded[arm.version] = await self._versions.get(deployment.model, arm.version)
            except Exception as error:  # noqa: BLE001 - loading runs the project's code
                _log.warning("model/%s@%d cannot serve", deployment.model, arm.version, exc_info=error)
                if arm.role == "shadow":
                    lacking.append(f"shadow model/{deployment.model}@{arm.version}: {message(error)}")
                    continue
                problems[arm.version] = f"model/{deployment.model}@{arm.version}: {message(error)}"
        champions = [arm.version for arm in deployment.arms if arm.role == "champion"]
        if deployment.arms and len(champions) != 1:
            problems[0] = f"has {len(champions)} champions, not one"
        declared = msgspec.convert(deployment.fallback, Fallback) if deployment.fallback else None
        if not deployment.arms:
            await self._remove(name)
        elif not problems:
            previous = await self._previous(deployment, declared, lacking)
            self._serve(deployment, loaded, deployment.generation, declared, previous)
        elif name not in self.endpoints and len(champions) == 1:
            # Nothing to keep to: better the champion alone, or what stands in for it, than no answer.
            champion = champions[0]
            previous = await self._previous(deployment, declared, lacking)
            if champion not in loaded and declared is not None:
                stand_in = await self._stand_in(deployment, champion, declared, previous, problems[champion])
                loaded |= {} if stand_in is None else {champion: stand_in}
            if champion in loaded:
                self._serve(deployment, loaded, 0, declared, previous)
        if wrong := [*problems.values(), *lacking]:
            again_at = self.clock.monotonic() + _RETRY
            self._failures[name] = _Failure(again_at, "; ".join(wrong))
        else:
            self._failures.pop(name, None)

    async def _previous(
        self, deployment: Deployment, declared: Fallback | None, lacking: list[str]
    ) -> Loaded | None:
        """The version before the champion, where the deployment falls back on it and it can be loaded."""
        if declared is None or not declared.previous or self._spares is None:
            return None
        version = await asyncio.to_thread(self._spares.previous, deployment)
        if not version:
            return None
        try:
            return await self._versions.get(deployment.model, version)
        except Exception as error:  # noqa: BLE001 - as for arms; it is but a spare
            _log.warning("model/%s@%d cannot be fallen back on", deployment.model, version, exc_info=error)
            lacking.append(f"fallback model/{deployment.model}@{version}: {message(error)}")
            return None

    async def _stand_in(
        self,
        deployment: Deployment,
        version: int,
        declared: Fallback,
        previous: Loaded | None,
        problem: str,
    ) -> Loaded | None:
        """A champion that cannot answer, with what it is to be asked, where something can answer for it."""
        described = previous
        try:
            if self._spares is not None and (previous is not None or declared.answer is not None):
                described = await asyncio.to_thread(self._spares.describe, deployment.model, version)
        except Exception as error:  # noqa: BLE001 - as for its model
            _log.warning("model/%s@%d is not known", deployment.model, version, exc_info=error)
        if described is None:
            return None
        return replace(described, version=version, scorer=Unloaded(f"cannot load {problem}"))

    def _serve(
        self,
        deployment: Deployment,
        loaded: Mapping[int, Loaded],
        generation: int,
        declared: Fallback | None,
        previous: Loaded | None,
    ) -> None:
        arms = [arm for arm in deployment.arms if arm.version in loaded]
        champion = next(loaded[arm.version] for arm in arms if arm.role == "champion")
        columns = merged(champion, [loaded[arm.version] for arm in arms])
        probes = {
            one.version: (one.scorer, RequestReader(one.columns, whole=one.whole).convert(one.example))
            for one in (loaded[arm.version] for arm in arms)
            if one.example
        }
        live = Live(
            generation=generation,
            reader=RequestReader(columns, whole=champion.whole),
            routes=Routes(
                deployment.name,
                [LiveArm(arm.version, arm.role, arm.weight, loaded[arm.version].scorer) for arm in arms],
                _rescuers(champion, declared, previous),
            ),
            key=tuple(map(attribute, champion.key)),
            time=attribute(champion.time) if champion.time else None,
            outputs=champion.outputs,
            table=champion.table,
            probes=probes,
            parameters={
                version: one.parameters for version, one in loaded.items() if one.parameters is not None
            },
        )
        endpoint = self.endpoints.get(deployment.name)
        if endpoint is not None:
            endpoint.live = live
            return
        name, log = deployment.name, self.log
        record: Callable[[Prediction], None] = (
            (lambda item: log.append(name, item)) if self._logging else (lambda item: None)
        )
        self.endpoints[name] = Endpoint(live, self.clock, record)

    async def _remove(self, name: str) -> None:
        """Take an endpoint away; it answers what waits, also where the deployment is there again meanwhile."""
        endpoint = self.endpoints.pop(name, None)
        if endpoint is not None:
            ending = asyncio.create_task(endpoint.close())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            await asyncio.shield(ending)

    def _forget(self) -> None:
        """Drop versions that no deployment is to have, nor has while it follows."""
        used = {(d.model, arm.version) for d in self._deployments.values() for arm in d.arms}
        for name, endpoint in self.endpoints.items():
            if (deployment := self._deployments.get(name)) is not None:
                used |= {(deployment.model, arm.version) for arm in endpoint.live.routes.arms}
        self._versions.forget(used)


def _rescuers(champion: Loaded, declared: Fallback | None, previous: Loaded | None) -> list[Rescuer]:
    """What a deployment falls back on, the nearest to the champion first."""
    if declared is None:
        return []
    found = dict(champion.fallbacks(declared))
    if declared.answer is not None and "answer" not in found:
        _log.warning("the declared answer is none to version %d, it is left out", champion.version)
    if previous is not None and previous.outputs != champion.outputs:
        # Of another task: who asks would get an answer that cannot be told from a right one, or none at all.
        _log.warning(
            "version %d answers otherwise than %d, it is left out", previous.version, champion.version
        )
        previous = None
    order: list[tuple[Kind, int, Scorer | None]] = [
        ("features", champion.version, found.get("features")),
        ("previous", previous.version if previous else 0, previous.scorer if previous else None),
        ("answer", 0, found.get("answer")),
    ]
    return [
        Rescuer(kind, LiveArm(version, "champion", 0.0, scorer))
        for kind, version, scorer in order
        if scorer is not None
    ]


def _nowhere(deployment: str, frame: object) -> None:
    """The sink of a plane without a log, which is given nothing."""
