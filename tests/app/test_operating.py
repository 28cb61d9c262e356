"""What serving takes, from the heartbeats of model servers: busy, cost, and the ticket when they can take no more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import psutil
import pytest

from homeostat.adapters.clock import SystemClock
from homeostat.app.container import Container
from homeostat.app.leases import lease_of
from homeostat.app.operating import operate, operation
from homeostat.app.settings import Settings
from homeostat.domain.errors import HomeostatError
from homeostat.domain.records import Alert, Usage

BEGAN = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)


class Hands(SystemClock):
    """Real time that is moved by hand."""

    real = BEGAN

    def wall(self) -> datetime:
        return self.real


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path, cpu_price="0.36 EUR")) as made:
        made.__dict__["clock"] = Hands()
        yield made


def beats(container: Container, after: timedelta, cpu: float, rows: int, *, started: float = 0.0) -> None:
    """A model server, which is this very process, says how far it is; then the controller looks."""
    assert isinstance(container.clock, Hands)
    container.clock.real += after
    own = psutil.Process().create_time()
    lease = lease_of(container, "worker", "worker/w1")
    told = {"started": own + started, "cpu": cpu, "rows": rows}
    lease = msgspec.structs.replace(lease, id="worker-w1", detail=lease.detail | told)
    with container.store.begin() as tx:
        tx.put(lease)
    operate(container)


def test_what_is_told_adds_over_hours_and_restarts(container: Container) -> None:
    beats(container, timedelta(0), 2.0, 10)
    first = operation(container)
    assert (first.servers, first.rows, first.cpu_seconds) == (1, 10, 2.0)
    beats(container, timedelta(seconds=30), 3.0, 20)  # too soon to be read again
    assert operation(container).rows == 10
    beats(container, timedelta(minutes=45), 92.0, 910)
    beats(container, timedelta(minutes=45), 182.0, 1810)
    found = operation(container)
    assert (found.rows, found.cpu_seconds) == (1810, 182.0)
    assert container.store.count(Usage) == 2
    beats(container, timedelta(minutes=5), 5.0, 50, started=0.5)  # another process of the same name
    assert operation(container).rows == 1860
    assert found.cost_per_1000 == pytest.approx(182 / 3600 * 0.36 / 1810 * 1000)
    assert found.currency == "EUR"
    assert isinstance(container.clock, Hands)
    container.clock.real += timedelta(days=2)
    assert operation(container).cost_per_1000 is None


def test_a_server_that_can_take_no_more_is_a_ticket(container: Container) -> None:
    beats(container, timedelta(0), 0.0, 0)
    beats(container, timedelta(minutes=61), 3600.0, 5)
    beats(container, timedelta(minutes=11), 4250.0, 9)
    (alert,) = container.store.find(Alert)
    assert (alert.severity, alert.subject, alert.state) == ("ticket", "worker/w1", "open")
    beats(container, timedelta(minutes=30), 4300.0, 9)
    (alert,) = container.store.find(Alert)
    assert alert.state == "resolved"


def test_a_price_is_a_number(tmp_path: Path) -> None:
    with pytest.raises(HomeostatError, match="cpu_price"):
        Settings(home=tmp_path, cpu_price="cheap")
