"""Deployments follow the store apart: what takes long to load holds up nothing but itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from homeostat.domain.errors import NotFound
from homeostat.domain.records import Arm, Deployment
from homeostat.engine.serving.scorer import Loaded
from tests.engine.serving.fakes import NOON, loaded
from tests.engine.serving.test_plane import World


class Gated(World):
    """Several deployments of one model, some of whose versions load only once they may."""

    def __init__(self, *slow: int) -> None:
        super().__init__()
        self.versions = {version: loaded(version) for version in range(1, 30)}
        self.gates = {version: threading.Event() for version in slow}
        self.most = self._now = 0
        self._counting = threading.Lock()

    def load(self, model: str, version: int) -> Loaded:
        with self._counting:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            found = super().load(model, version)  # as it is when the load begins
            if version in self.gates:
                assert self.gates[version].wait(60)
            return found
        finally:
            with self._counting:
                self._now -= 1

    def set(self, name: str, generation: int, *versions: int) -> None:
        """The first version is the champion, another one a canary."""
        roles = zip(versions, ("champion", "canary"), strict=False)
        arms = [Arm(version, 1 / len(versions), role) for version, role in roles]  # type: ignore[arg-type]
        new = Deployment(name=name, model="delay", generation=generation, arms=arms, at=NOON)
        self.deployments = [one for one in self.deployments if one.name != name] + [new]

    def remove(self, name: str) -> None:
        self.deployments = [one for one in self.deployments if one.name != name]

    def open(self, *versions: int) -> None:
        for version in versions or self.gates:
            self.gates[version].set()

    def served(self, name: str) -> tuple[int, list[int]]:
        live = self.plane.endpoints[name].live
        return live.generation, [arm.version for arm in live.routes.arms]


async def until(true: Callable[[], bool]) -> None:
    for _ in range(4000):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came")


def test_a_slow_load_does_not_delay_the_rollback_of_another_nor_its_own() -> None:
    async def run() -> None:
        world = Gated(3)
        world.set("flights", 1, 1)
        world.set("trains", 1, 2)
        await world.plane.follow()
        world.set("flights", 2, 1, 3)
        world.set("trains", 2, 4)
        going = asyncio.create_task(world.plane.follow())
        await until(lambda: 3 in world.loads and world.served("trains") == (2, [4]))
        world.set("trains", 3, 2)
        syncing = asyncio.create_task(world.plane.sync())
        await until(lambda: world.served("trains") == (3, [2]))
        assert world.served("flights") == (1, [1])
        assert not going.done()
        assert not syncing.done()  # it says that all is brought up
        world.set("flights", 3, 1)
        await asyncio.wait_for(world.plane.follow(), 20)
        await asyncio.wait_for(asyncio.gather(going, syncing), 20)
        assert world.served("flights") == (3, [1])
        world.open()
        await asyncio.sleep(0.05)
        assert world.served("flights") == (3, [1])  # the load that it made pointless changes nothing
        world.set("flights", 4, 1, 3)
        assert (await world.plane.sync()).generation == {"flights": 4, "trains": 3}
        assert world.loads.count(3) == 1
        await world.plane.close()

    asyncio.run(run())


def test_the_newest_of_many_states_wins_and_sync_waits_for_it() -> None:
    async def run() -> None:
        world = Gated(2, 3, 4)
        world.set("flights", 1, 1)
        await world.plane.follow()
        syncing = []
        for generation, version in enumerate((2, 3, 4), 2):
            world.set("flights", generation, version)
            syncing.append(asyncio.create_task(world.plane.sync()))
            await until(lambda version=version: version in world.loads)  # type: ignore[misc]
        for version in (3, 2):
            world.open(version)
            await asyncio.sleep(0.02)
        assert world.served("flights") == (1, [1])
        assert not any(task.done() for task in syncing)
        world.open(4)
        for task in syncing:
            assert (await asyncio.wait_for(task, 20)).generation == {"flights": 4}
        assert world.served("flights") == (4, [4])
        await world.plane.close()

    asyncio.run(run())


def test_follows_at_once_load_a_version_of_two_deployments_once() -> None:
    async def run() -> None:
        world = Gated(1)
        world.set("flights", 1, 1)
        world.set("trains", 1, 1)
        going = [asyncio.create_task(world.plane.follow(force=force)) for force in (True, False, True)]
        await until(lambda: world.loads == [1])
        assert not world.plane.ready
        assert world.plane.known("trains")
        world.open()
        await asyncio.wait_for(asyncio.gather(*going), 20)
        assert world.loads == [1]
        assert world.plane.ready
        await world.plane.close()

    asyncio.run(run())


def test_few_versions_load_at_once_and_none_that_nobody_waits_for_any_more() -> None:
    async def run() -> None:
        world = Gated(*range(1, 13))
        for version in range(1, 13):
            world.set(f"d{version}", 1, version)
        going = asyncio.create_task(world.plane.follow())
        await until(lambda: len(world.loads) == 3)
        world.set("d11", 2, 20)
        world.remove("d12")
        again = asyncio.create_task(world.plane.follow())
        await asyncio.sleep(0.05)
        assert len(world.loads) == 3
        world.open()
        await asyncio.wait_for(asyncio.gather(going, again), 20)
        assert world.plane.generations == {f"d{n}": 1 for n in range(1, 11)} | {"d11": 2}
        assert world.most == 3
        assert sorted(world.loads) == [*range(1, 11), 20]
        await world.plane.close()

    asyncio.run(run())


def test_a_deployment_removed_while_it_loads_is_gone_and_may_come_again() -> None:
    async def run() -> None:
        world = Gated(3)
        world.set("flights", 1, 1)
        await world.plane.follow()
        world.set("flights", 2, 3)
        going = asyncio.create_task(world.plane.follow())
        await until(lambda: 3 in world.loads)
        old = world.plane.endpoints["flights"]
        world.remove("flights")
        await asyncio.wait_for(world.plane.follow(), 20)
        await asyncio.wait_for(going, 20)
        assert not world.plane.known("flights")
        world.open()
        await asyncio.sleep(0.05)
        assert world.plane.endpoints == {}
        with pytest.raises(asyncio.QueueFull):
            old.submit([], old.live, NOON, 0.0)
        world.set("flights", 1, 3)
        assert (await world.plane.sync()).generation == {"flights": 1}
        assert world.loads.count(3) == 1
        await world.plane.close()

    asyncio.run(run())


def test_closing_waits_for_no_load_and_writes_what_was_answered() -> None:
    async def run() -> None:
        world = Gated(3)
        world.set("flights", 1, 1)
        await world.plane.follow()
        await world.ask("a", "b")
        world.set("flights", 2, 1, 3)
        world.set("trains", 1, 2, 3)
        going = asyncio.create_task(world.plane.follow())
        await until(lambda: 3 in world.loads)
        try:
            await asyncio.wait_for(world.plane.close(), 20)
            await asyncio.wait_for(going, 20)
            assert [frame["key"].to_list() for frame in world.log] == [["a", "b"]]
            assert world.plane.endpoints == {}
        finally:
            world.open()
        await asyncio.sleep(0.05)
        await world.plane.follow()
        assert world.plane.endpoints == {}  # nobody would stop them

    asyncio.run(run())


def test_a_sync_tries_again_what_failed_before_it_was_mended() -> None:
    async def run() -> None:
        world = Gated(2)
        world.versions[1] = NotFound("gone")
        world.set("flights", 1, 1, 2)
        going = asyncio.create_task(world.plane.follow())
        await until(lambda: world.loads == [1, 2])
        world.versions[1] = loaded(1)
        syncing = asyncio.create_task(world.plane.sync())
        following = asyncio.create_task(world.plane.follow())
        await asyncio.sleep(0.05)
        world.open()
        synced = await asyncio.wait_for(syncing, 20)
        assert (synced.generation, synced.errors) == ({"flights": 1}, {})
        await asyncio.wait_for(asyncio.gather(going, following), 20)
        assert world.loads == [1, 2, 1]
        await world.plane.close()

    asyncio.run(run())
