"""Rules that wait for what happens once, through the loop: they fire for it, once, and each look says why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from homeostat.adapters.clock import ManualClock
from homeostat.app import explain
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.deliveries import ingest
from homeostat.app.messages import Incoming, Received, receive
from homeostat.app.projects import load_project
from homeostat.app.settings import Settings
from homeostat.app.training import submit
from homeostat.domain.errors import DeclarationError
from homeostat.domain.records import Alert, Alias, Evaluation, Message, Run

START = datetime(2024, 1, 1, 12, tzinfo=UTC)
PROJECT = """
from typing import Annotated
import homeostat as hs
from sklearn.linear_model import LogisticRegression

SMOOTH = {smooth}

class Row(hs.Contract):
    id: int
    size: Annotated[float, hs.Check(le={most})]
    good: bool

rows = hs.Dataset("rows", key="id", contract=Row)

@hs.on_request
def size(r):
    return r.select({column})

def fitted(data):
    return LogisticRegression(C=SMOOTH).fit(data.X, data.y)

def train(data):
    return fitted(data)  {comment}

shop = hs.Model("shop", task=hs.Binary(label="good", source=rows), features=[size], train=train, {shop})
price = hs.Model("price", task=hs.Binary(label="good", source=rows), features=[size], train=train, {price})
"""


class Shop:
    """A project whose clock is set, and whose trainings end when they are said to."""

    def __init__(self, container: Container, folder: Path) -> None:
        self.container, self.folder = container, folder
        self.clock = ManualClock(START)
        container.clock = self.clock
        self.controller = Controller(container)
        folder.mkdir()

    def declare(self, retrain: str = "", *, price: str = "", **said: str) -> None:
        parts = {"smooth": "1.0", "most": "10", "column": '"size"', "comment": ""} | said
        of = {"shop": f"retrain=hs.when({retrain})," if retrain else "", "price": price}
        (self.folder / "project.py").write_text(PROJECT.format(**parts, **of))
        apply(self.container, load_project(self.folder))

    def fill(self) -> None:
        size = np.random.default_rng(0).normal(size=50)
        ingest(self.container, "rows", pl.DataFrame({"id": range(50), "size": size, "good": size > 0}))

    def later(self, **span: float) -> list[Evaluation]:
        """A turn of the controller so much later; gives the newest look at the rules."""
        self.clock.set(self.clock.now() + timedelta(**span))
        # Only the rules: nothing of this is about how a training runs.
        self.controller._rules([])
        newest = self.container.store.find(Evaluation, order=["-at"], limit=1)
        return explain.why(self.container, "shop", limit=10)[: self._of(newest)]

    def _of(self, newest: list[Evaluation]) -> int:
        return self.container.store.count(Evaluation, ("at", "=", newest[0].at)) if newest else 0

    def ended(self) -> None:
        """What is queued has succeeded."""
        with self.container.store.begin() as tx:
            tx.update(Run, {"state": "succeeded", "seconds": 3600.0}, ("state", "=", "queued"))

    @property
    def runs(self) -> list[Run]:
        return self.container.store.find(Run, ("model", "=", "shop"), order=["created_at"])


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Container(Settings(home=tmp_path / "home", cpu_price="2 EUR")) as made:
        yield Shop(made, tmp_path / "shop")


def test_a_schedule_trains_at_its_occasions_and_makes_up_for_those_missed_once(shop: Shop) -> None:
    shop.declare('hs.schedule("0 3 * * *"), cooldown="1h", check_every="30d"')
    shop.fill()
    (look,) = shop.later()
    assert not look.fired  # it was declared at noon, and has missed nothing
    assert "due at 2024-01-02 03:00" in look.reason
    shop.later(hours=14)
    assert not shop.runs
    (look,) = shop.later(hours=1)
    assert (look.value, look.threshold, look.fired) == (1.0, 1.0, True)
    assert look.reason == "'0 3 * * *' (UTC) was due at 2024-01-02 03:00"
    (run,) = shop.runs
    assert (run.reason, look.run) == (look.reason, run.id)
    shop.ended()
    (look,) = shop.later(days=3, hours=9)  # nothing ran for three days
    assert look.value == 3
    assert (
        "3 occasions of '0 3 * * *' (UTC) were due from 2024-01-03 03:00 to 2024-01-05 03:00" in look.reason
    )
    assert "made up for by one training" in look.reason
    assert len(shop.runs) == 2
    shop.ended()
    shop.later(hours=10)
    assert len(shop.runs) == 2


def test_a_schedule_follows_the_clock_of_its_time_zone(shop: Shop) -> None:
    shop.declare('hs.schedule("0 3 * * *", timezone="America/New_York"), cooldown="1h", check_every="30d"')
    shop.fill()
    (look,) = shop.later()
    assert "due at 2024-01-02 08:00" in look.reason
    for wrong in (
        'hs.schedule("0 3 * *")',
        'hs.schedule("0 3 31 2 *")',
        'hs.schedule("* * * * *", timezone="X/Y")',
    ):
        with pytest.raises(DeclarationError):
            shop.declare(wrong)


def test_code_that_was_changed_is_trained_and_comments_are_not(shop: Shop) -> None:
    shop.declare('hs.code_change(), cooldown="1ms", check_every="30d"')
    (look,) = shop.later()
    assert look.fired
    assert not look.run  # there are no rows yet
    shop.fill()
    (look,) = shop.later(days=31)
    assert look.reason == "no training used this code yet"
    shop.ended()
    shop.clock.set(shop.clock.now() + timedelta(hours=1))
    shop.declare('hs.code_change(), cooldown="1ms", check_every="30d"', comment="# the same")
    (look,) = shop.later(minutes=1)  # at once: the project was applied
    assert not look.fired
    assert look.reason == f"the code is that of run/{shop.runs[0].id}"
    shop.clock.set(shop.clock.now() + timedelta(hours=1))
    shop.declare('hs.code_change(), cooldown="1ms", check_every="30d"', smooth="0.5")  # two names away
    (look,) = shop.later(minutes=1)
    assert look.run == shop.runs[1].id
    assert "its training function was changed" in look.reason
    shop.ended()
    shop.clock.set(shop.clock.now() + timedelta(hours=1))
    shop.declare('hs.code_change(), cooldown="1ms", check_every="30d"', smooth="0.5", column='big="size"')
    (look,) = shop.later(minutes=1)
    assert "feature view size was changed" in look.reason
    assert len(shop.runs) == 3


def test_a_contract_that_was_changed_is_trained_on(shop: Shop) -> None:
    rules = 'hs.contract_change("rows"), cooldown="1ms", check_every="30d"'
    shop.declare(rules)
    shop.fill()
    (look,) = shop.later()
    assert not look.fired
    submit(shop.container, "shop", reason="by hand")
    shop.ended()
    (look,) = shop.later(days=31)
    assert "the contracts are those of run/" in look.reason
    shop.clock.set(shop.clock.now() + timedelta(hours=1))
    shop.declare(rules, most="20")
    (look,) = shop.later(minutes=1)
    assert look.run == shop.runs[1].id
    assert "dataset/rows: column size was changed" in look.reason
    with pytest.raises(DeclarationError, match="names no dataset that it reads"):
        shop.declare('hs.contract_change("others")')


def test_another_champion_of_an_upstream_model_is_trained_after(shop: Shop) -> None:
    shop.declare('hs.upstream_model("price"), cooldown="1ms", check_every="30d"')
    shop.fill()
    (look,) = shop.later()
    assert look.reason == "model/price has no champion yet"
    shop.clock.set(shop.clock.now() + timedelta(hours=1))
    with shop.container.store.begin() as tx:
        tx.put(Alias(model="price", alias="champion", version=4, at=shop.clock.now()))
    (look,) = shop.later(minutes=1)
    assert look.reason.startswith("model/price@4 is champion since 2024-01-01 13:00")
    assert look.run == shop.runs[0].id
    shop.ended()
    (look,) = shop.later(days=31)
    assert not look.fired
    with pytest.raises(DeclarationError, match="names no model"):
        shop.declare('hs.upstream_model("prize")')
    with pytest.raises(DeclarationError, match="leads back to it"):
        shop.declare('hs.upstream_model("price")', price='retrain=hs.when(hs.upstream_model("shop")),')


def came(shop: Shop, *ids: str, source: str = "/erp") -> Received:
    messages = [Incoming(id=one, source=source, type="prices.published", subject="2024") for one in ids]
    return receive(shop.container, messages)


def test_a_message_trains_once_and_waits_until_no_more_come(shop: Shop) -> None:
    shop.declare(
        'hs.message("prices.published", source="/erp"), debounce="10m", cooldown="1h", check_every="30d"'
    )
    shop.fill()
    (look,) = shop.later()
    assert "no message prices.published came since" in look.reason
    shop.clock.set(shop.clock.now() + timedelta(minutes=5))
    assert came(shop, "1", "2", "1") == Received(2, 1)
    assert came(shop, "3", source="/other") == Received(1, 0)
    (look,) = shop.later(minutes=4)
    assert (look.value, look.fired, look.run) == (2.0, True, "")
    assert "held: it fires for 4m, and must for 10m" in look.reason
    shop.clock.set(shop.clock.now() + timedelta(minutes=1))
    came(shop, "4")  # and one more
    (look,) = shop.later(minutes=9)
    assert "held: it fires for 9m" in look.reason
    assert not shop.runs
    (look,) = shop.later(minutes=10)
    assert look.run == shop.runs[0].id
    assert "3 messages prices.published came, the last from /erp about 2024" in look.reason
    shop.ended()
    assert came(shop, "1", "4") == Received(0, 2)
    shop.later(days=31)
    assert len(shop.runs) == 1
    assert shop.container.store.count(Message) == 4
    assert len(shop.container.ledger.find(kinds=["message.received"])) == 4


def test_a_budget_of_money_holds_what_would_cost_more(shop: Shop) -> None:
    shop.declare('hs.schedule("0 * * * *"), budget=("5 EUR", "30d"), cooldown="1ms", check_every="30d"')
    shop.fill()
    shop.later()
    for _ in range(4):  # 2 EUR each
        (look,) = shop.later(hours=1)
        shop.ended()
    assert len(shop.runs) == 2
    assert "held: the budget is 5 EUR in 30d: 4 EUR were spent, and a training costs about 2" in look.reason
    shop.later(days=31)
    assert len(shop.runs) == 3
    for wrong, said in (('("5 USD", "30d")', "prices are in EUR"), ('("five", "30d")', "no amount of money")):
        with pytest.raises(DeclarationError, match=said):
            shop.declare(f"hs.every('1d'), budget={wrong}")


def test_without_a_price_a_budget_of_money_is_refused(tmp_path: Path) -> None:
    with Container(Settings(home=tmp_path / "home")) as container:
        shop = Shop(container, tmp_path / "shop")
        with pytest.raises(DeclarationError, match="trainings have no price") as error:
            shop.declare('hs.every("1d"), budget=("5 EUR", "30d")')
        assert "HOMEOSTAT_CPU_PRICE" in error.value.remedy


def test_a_rule_that_fires_while_a_version_is_on_its_way_says_so(shop: Shop) -> None:
    shop.declare('hs.every("1d"), cooldown="1ms", check_every="1h"')
    shop.fill()
    shop.later()
    (run,) = shop.runs
    (look,) = shop.later(days=2)
    assert look.fired
    assert f"held: run/{run.id} is queued" in look.reason


def test_monitors_that_fail_are_kept_told_and_looked_at_when_they_are_due(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.declare('hs.every("30d"), cooldown="1ms", check_every="1h"')
    shop.fill()

    def broken(*_: object) -> None:
        raise ValueError("a column of nulls")

    with monkeypatch.context() as patched:
        patched.setattr("homeostat.app.triggers.watch", broken)
        looks = {one.rule: one for one in shop.later()}
        assert looks["monitors"].reason == "failed: ValueError: a column of nulls"
        assert looks["every 30d"].run  # what needs no monitor is judged all the same
        shop.later(minutes=5)
        assert shop.container.store.count(Evaluation, ("rule", "=", "monitors")) == 1
        shop.later(hours=1)
        assert shop.container.store.count(Evaluation, ("rule", "=", "monitors")) == 2
        (alert,) = shop.container.store.find(Alert)
        assert (alert.state, alert.severity) == ("open", "ticket")
        assert "a column of nulls" in alert.summary
    shop.later(hours=1)
    (alert,) = shop.container.store.find(Alert)
    assert alert.state == "resolved"
    assert msgspec.to_builtins(alert.detail)["error"] == "ValueError: a column of nulls"
