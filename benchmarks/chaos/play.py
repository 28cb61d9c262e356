"""The replay under faults: whoever delivers, asks, labels and trains is patient, and what runs is killed meanwhile.

It keeps what it was told, as a careful sender would: what was delivered, which answers came, which labels were taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from random import Random
from threading import Event, Thread
from typing import Final, TypeVar

import polars as pl
import psutil

from benchmarks.chaos.plan import Process, Step
from examples.flights.measure import LOG, MODEL
from examples.flights.replay import TIMES, Year
from examples.flights.stage import Stage
from homeostat.app.reading import read
from homeostat.domain.errors import Conflict, HomeostatError, StoreUnavailable
from homeostat.domain.records import Alert, Dataset, Delivery, Lease, Run
from homeostat.sdk.client import Client, Parcel
from tests.app.receiving import Receiver

CHANNEL: Final = "channel/ops"
STEP: Final = timedelta(hours=4)
_PATIENCE: Final = 180.0
_POLL: Final = 0.05
_LABELS: Final = 5
_SPARE: Final = "homeostat.server.standby"
T = TypeVar("T")


class Play:
    """One replay.

    Args:
        stage: The home and what runs there.
        year: The data.
        receiver: The channel of alerts.
        random: Where chance comes from.
    """

    def __init__(self, stage: Stage, year: Year, receiver: Receiver, random: Random) -> None:
        self._stage, self._year, self._receiver, self._random = stage, year, receiver, random
        self._now = stage.simulated.now()
        self._came = self._now  # until when everything that came is delivered or held
        self._held: list[list[Parcel]] = []
        self._trainings = 0
        self.happened: Counter[str] = Counter()
        self.sent: dict[str, list[pl.DataFrame]] = {name: [] for name in TIMES}
        self.answered: dict[str, str] = {}
        """The flight of each prediction that was answered."""
        self.at_risk: set[str] = set()
        """Predictions that were answered while whoever keeps them was killed."""
        self.unknown = 0
        """Predictions whose answer never came."""
        self.labelled: dict[str, int] = {}
        """The label that each prediction was given first."""
        self.broken = 0
        """Rows of weather that were made to break their contract."""
        self.asked_for: list[str] = []
        """Reasons of the trainings that were asked for."""

    def begin(self) -> None:
        """Everything before the replay, and the first model."""
        self._deliver([self._parcel(name, None, self._now) for name in TIMES])
        self._train("the first model")
        self._settle()
        self._settle()  # an accepted version is rolled out by the tick after the one that saw it finished

    def step(self, what: Step) -> None:
        """One step, in which things go wrong."""
        self._receiver.status = 204 if what.channel else 503
        if not what.channel:
            self.happened["steps without a channel"] += 1
        self._move(what.skip + 1)
        if what.kill in ("worker", "supervisor"):
            self.logged()
        before = len(self.answered)
        with self._killing(what):
            self._receive(what)
            self._ask()
            self._label(what)
            if what.kill == "job":
                self._train(f"by hand {self._trainings}")
            self._settle()
        self._stage.revive()
        if what.kill in ("worker", "supervisor"):
            self.at_risk.update(list(self.answered)[before:])

    def calm(self, steps: int) -> None:
        """What was held back comes, and nothing goes wrong any more."""
        for _ in range(steps):
            self.step(Step())
        self.logged()
        self._until(lambda: not self._waiting(), "the channel to be told")

    def _waiting(self) -> int:
        """How many pages the channel is to be told of, or that it is away."""
        store = self._stage.container.store
        away = store.count(Alert, ("subject", "=", CHANNEL), ("state", "=", "open"))
        return away + store.count(Delivery, ("state", "=", "waiting"))

    def logged(self) -> None:
        """Wait until every answer is in the log, but those that need not be."""
        wanted = self.answered.keys() - self.at_risk
        self._until(lambda: wanted <= self.log(), "the log of predictions")

    def log(self) -> set[str]:
        """The predictions in the log."""
        if self._stage.container.store.get(Dataset, LOG) is None:
            return set()
        return set(read(self._stage.container, LOG).select("prediction_id").collect().to_series())

    def _move(self, steps: int) -> None:
        """Set the clock; it refuses to go back."""
        self._now += steps * STEP
        self._call(lambda client: client.set_clock(self._now))
        if steps > 1:
            self.happened["jumps of the clock"] += 1
            try:
                self._call(lambda client: client.set_clock(self._now - STEP))
            except Conflict:
                return
            raise HomeostatError("the clock went back")

    def _receive(self, what: Step) -> None:
        """Deliver what came since, now or later; what was held back comes in any order."""
        parcels = [self._parcel(name, self._came, self._now) for name in TIMES]
        self._came = self._now
        self._held.append([parcel for parcel in parcels if parcel.rows.height])
        if what.broken:
            parcel = self._broken()
            self._call(lambda client: client.deliver([parcel]))
            self.broken += parcel.rows.height
            self.happened["deliveries that broke their contract"] += 1
        if what.hold:
            self.happened["deliveries held back"] += 1
            return
        self._random.shuffle(self._held)
        for one in self._held:
            self._deliver(one)
            if what.twice:
                self.happened["deliveries sent twice"] += 1
                self._call(lambda client, one=one: client.deliver(one))  # type: ignore[misc] # a bound default
        self._held = []

    def _deliver(self, parcels: Sequence[Parcel]) -> None:
        self._call(lambda client: client.deliver(parcels))
        for parcel in parcels:
            self.sent[parcel.dataset].append(parcel.rows)

    def _parcel(self, name: str, since: datetime | None, until: datetime) -> Parcel:
        return Parcel(name, self._year.before(name, since, until), f"{name}-{until:%Y-%m-%dT%H}")

    def _broken(self) -> Parcel:
        rows = self._year.before("weather", self._now - STEP, self._now)
        return Parcel("weather", rows.with_columns(temp=pl.lit(999.0)), f"broken-{self._now:%Y-%m-%dT%H}")

    def _ask(self) -> None:
        """Ask about the flights that leave, a few at a time; who gets no answer asks again."""
        for part in self._year.before("flights", self._now, self._now + STEP).iter_slices(7):
            for answer, flight in zip(self._predicted(part), part["flight"], strict=True):
                if answer["prediction_id"] in self.answered:
                    raise HomeostatError(f"prediction/{answer['prediction_id']} was answered twice")
                self.answered[answer["prediction_id"]] = flight

    def _predicted(self, flights: pl.DataFrame) -> list[dict[str, str]]:
        def predict(client: Client) -> list[dict[str, str]]:
            self.unknown += flights.height
            found: list[dict[str, str]] = client.predict(MODEL, flights)
            self.unknown -= flights.height
            return found

        return self._call(predict)

    def _label(self, what: Step) -> None:
        """Label some predictions by their ids; those of a second time are others, and do not count."""
        landed = self._year.before("landings", self._now - timedelta(days=4), self._now)
        late = dict(landed.select("flight", "late").iter_rows())
        known = [id for id, flight in self.answered.items() if flight in late and id not in self.labelled]
        chosen = {id: late[self.answered[id]] for id in self._random.sample(known, min(_LABELS, len(known)))}
        if chosen:
            self._call(lambda client: client.label(MODEL, chosen))
            self.labelled |= chosen
            if what.twice:
                self.happened["labels sent twice"] += len(chosen)
                other = {id: 1 - value for id, value in chosen.items()}
                self._call(lambda client: client.label(MODEL, other))

    def _train(self, reason: str) -> None:
        """Ask for a training once: an answer that was lost on the way is looked for before asking again."""
        store = self._stage.container.store

        def train(client: Client) -> None:
            if not store.count(Run, ("reason", "=", reason)):
                client.train(MODEL, reason=reason)

        self._call(train)
        self._trainings += 1
        self.asked_for.append(reason)

    def _settle(self) -> None:
        self._until(
            lambda: not self._call(lambda client: client.tick()).busy, "the controller to have done all"
        )

    def _call(self, work: Callable[[Client], T]) -> T:
        """Ask until there is an answer; whoever runs Homeostat starts it again where all of it has died."""
        until = self._stage.clock.monotonic() + _PATIENCE
        while True:
            try:
                return work(self._stage.client)
            except StoreUnavailable:
                if self._stage.clock.monotonic() > until:
                    raise
                self._stage.clock.sleep(_POLL)
                self._stage.revive()

    def _until(self, true: Callable[[], bool], what: str) -> None:
        until = self._stage.clock.monotonic() + _PATIENCE
        while not true():
            if self._stage.clock.monotonic() > until:
                raise HomeostatError(f"waited for {what} in vain", remedy=f"Read {self._stage.log}")
            self._stage.clock.sleep(_POLL)

    @contextmanager
    def _killing(self, what: Step) -> Iterator[None]:
        """Kill a process while the block runs; one that is not there by its end is not killed."""
        done = Event()
        killer = Thread(target=self._kill, args=(what, done), name="killer")
        if what.kill is not None:
            killer.start()
        try:
            yield
        finally:
            done.set()
            if what.kill is not None:
                killer.join()

    def _kill(self, what: Step, done: Event) -> None:
        assert what.kill is not None
        while not (victim := self._find(what.kill)) and not done.wait(_POLL):
            pass
        done.wait(what.delay)
        try:
            if victim is not None:
                victim.kill()
                self.happened[f"kills of a {what.kill}"] += 1
        except psutil.NoSuchProcess:
            pass  # it was done before

    def _find(self, kind: Process) -> psutil.Process | None:
        """A process of that kind, of those that belong to this stage."""
        try:
            up = psutil.Process(self._stage.pid)
            if kind == "supervisor":
                return up
            ours = {process.pid: process for process in up.children(recursive=True)}
            leases = self._stage.container.store.find(Lease)
            if kind == "spare":
                taken = {lease.pid for lease in leases}
                return next((p for p in ours.values() if p.pid not in taken and _SPARE in p.cmdline()), None)
            return next((ours[one.pid] for one in leases if one.role == kind and one.pid in ours), None)
        except psutil.Error:
            return None
