"""Numbers of versions under concurrency: each once, none left out, in threads and in processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from homeostat.app.container import Container
from homeostat.app.registry import aliases, models, reading, versions
from homeostat.app.settings import Settings
from homeostat.domain.errors import NotFound
from homeostat.domain.records import Alias

REGISTRAR = Path(__file__).with_name("registering_process.py")


@pytest.fixture
def container(store_url: str, tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home", store=store_url)) as container:
        models.register(container, "churn")
        yield container


def check(container: Container, count: int) -> None:
    found = reading.versions(container.store, "churn", limit=1000)
    assert [shown.record.version for shown in found] == list(range(count, 0, -1))
    shown = reading.model(container.store, "churn")
    assert (shown.record.versions, shown.record.latest) == (count, {"None": count})
    created = container.ledger.find(kinds=["model.version-created"], limit=1000, newest=False)
    assert [event.subject for event in created] == [f"model/churn@{n}" for n in range(1, count + 1)]
    assert container.ledger.verify().ok


def test_threads(container: Container) -> None:
    def register(_: int) -> int:
        return versions.create(container, "churn", "s3://bucket/model").record.version

    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(register, range(48)))
    assert sorted(given) == list(range(1, 49))
    check(container, 48)


def test_processes(container: Container, store_url: str, tmp_path: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, str(REGISTRAR), store_url, str(tmp_path / f"home{n}"), "churn", "20"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(2)
    ]
    given: list[int] = []
    for process in running:
        said, errors = process.communicate(timeout=280)
        assert process.returncode == 0, errors
        mine = list(map(int, said.split()))
        assert mine == sorted(mine)
        given += mine
    assert sorted(given) == list(range(1, 41))
    check(container, 40)


def test_one_name_is_registered_once(container: Container) -> None:
    def register(_: int) -> str:
        try:
            models.register(container, "one")
        except Exception as error:  # noqa: BLE001 - which one is what is asked
            return type(error).__name__
        return "made"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(register, range(8))) == ["Conflict"] * 7 + ["made"]


def test_an_alias_never_points_to_what_was_deleted(container: Container) -> None:
    for _ in range(10):
        versions.create(container, "churn", "s3://bucket/model")

    def point(number: int) -> None:
        try:
            aliases.set_alias(container, "churn", f"a{number}", number)
        except NotFound:
            return

    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(point, number) for number in range(1, 11)]
        done += [pool.submit(versions.delete, container, "churn", number) for number in range(1, 11)]
        for one in done:
            one.result()
    assert container.store.find(Alias) == []


def test_an_alias_goes_with_its_model(container: Container) -> None:
    of = [f"model-{number}" for number in range(8)]
    for name in of:
        models.register(container, name)
        versions.create(container, name, "s3://bucket/model")

    def point(name: str) -> None:
        with suppress(NotFound):
            aliases.set_alias(container, name, "live", 1)

    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(work, name) for name in of for work in (point, partial(models.delete, container))]
        for one in done:
            one.result()
    assert container.store.find(Alias) == []
    assert container.ledger.verify().ok
