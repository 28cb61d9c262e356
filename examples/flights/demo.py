"""`homeostat demo`: nine months of flights through a model that keeps itself good, faults and all.

A fresh home, the project applied, the servers started; January to March are ingested and the first model is trained;
then April to December go by hour by hour through the public HTTP API, each airport asking about its departures of the
hour. At the end the first model, frozen, is compared with the loop on the same requests.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl
import uvloop

from examples.flights import data, faults
from examples.flights.lanes import Answer, Lanes
from examples.flights.measure import LOG, MODEL, NEW_YORK, Frozen, logged, quality
from examples.flights.pages import summary, write
from examples.flights.progress import Progress
from examples.flights.replay import FIRST, MONTHS, NEW_YEAR, Delivery, Year, bodies, hours
from examples.flights.report import INJECTED, Replayed, gather
from examples.flights.stage import Stage
from examples.flights.story import Story
from homeostat.domain.contracts import SEQ
from homeostat.domain.errors import HomeostatError
from homeostat.domain.records import Dataset
from homeostat.sdk.client import Parcel, Tick

_ZONE: Final = ZoneInfo(NEW_YORK)
_WEEK: Final = timedelta(days=7)
_SHOWN: Final = timedelta(days=14)
_POLL: Final = 0.1
_PATIENCE: Final = 30.0
_IDLE: Final = timedelta(hours=8)
"""How often the controller turns while no canary runs: all that it then looks at is due once a day."""

INTERRUPTED: Final = 130
"""The exit status of a program that ctrl-C ended, as shells tell it."""

UNIT: Final = "weather in inches of mercury"
UNIT_FROM, UNIT_UNTIL = (datetime(2013, 7, day, tzinfo=_ZONE) for day in (8, 12))
CANDIDATES: Final = {
    "labels flipped": (datetime(2013, 9, 18, 9, tzinfo=_ZONE), "faults:flipped_labels"),
    "features scaled by the batch": (datetime(2013, 10, 8, 0, tzinfo=_ZONE), "faults:batch_normalised"),
}
"""Candidates that somebody trains by hand: when, and with which function of the project."""


class Demo:
    """One replay.

    Args:
        stage: The home and what runs there.
        year: The data.
        until: The first midnight at which nobody asks any more.
        progress: Where it is shown.
    """

    def __init__(self, stage: Stage, year: Year, until: datetime, progress: Progress) -> None:
        self._stage, self._client, self._year = stage, stage.client, year
        self._until = until
        self._progress = progress
        self._story = Story(stage.container)
        self._began = stage.clock.monotonic()
        self._parts: defaultdict[str, float] = defaultdict(float)
        self._asked = [year.tables["flights"].head(0).select("flight", "sched_dep")]
        self._answers: list[Answer] = []
        self._injected: dict[str, datetime] = {}
        self._rolling: Rolling | None = None
        self._senders = ThreadPoolExecutor(2)
        self._settled = FIRST

    def run(self) -> Replayed:
        """All of it."""
        self._first_model()
        url = next(one["url"] for one in self._client.deployments() if one["name"] == MODEL)
        self._rolling = Rolling(self._stage, self._year)
        lanes = Lanes(url)
        end = self._year.last_landing(self._until)
        shown = before = FIRST
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for hour in hours(FIRST, end):
                asking = hour < self._until and self._year.leaving(hour).height > 0
                if not asking and hour not in (UNIT_FROM, UNIT_UNTIL, end):
                    continue
                self._hour(before, hour, lanes, runner)
                before = hour
                if hour - shown >= _SHOWN:
                    shown = hour
                    with self._timed("comparing on the way"):
                        self._compare(hour)
                self._progress.move(hour)
            runner.run(_closed(lanes))
        self._settle()
        self._wait_for_log()
        return self._replayed(end)

    def _wait_for_log(self) -> None:
        """Until the model servers have handed over what they answered: they do each second."""
        clock = self._stage.clock
        patience = clock.monotonic() + _PATIENCE
        while (log := self._stage.container.store.get(Dataset, LOG)) is None or log.rows < len(self._answers):
            if clock.monotonic() > patience:
                raise HomeostatError(
                    f"{len(self._answers)} requests were answered and {log.rows if log else 0} are in the log",
                    remedy=f"Read {self._stage.log}",
                )
            clock.sleep(_POLL)

    def _first_model(self) -> None:
        with self._timed("delivering"):
            self._client.ingest("planes", data.planes(), token="planes-2013")
            for month in MONTHS:
                self._stage.simulated.set(month)
                for delivery in self._year.month(month):
                    self._client.ingest(delivery.dataset, delivery.rows, token=delivery.token)
                    self._client.seal(delivery.dataset)
        self._client.train(MODEL, reason="first model")
        self._settle()
        self._settle()  # an accepted version is rolled out by the tick after the one that saw it finished
        if not any(one["arms"] for one in self._client.deployments()):
            raise HomeostatError("the first model does not serve", remedy=f"Read {self._stage.log}")

    def _hour(self, before: datetime, hour: datetime, lanes: Lanes, runner: asyncio.Runner) -> None:
        with self._timed("delivering"):
            self._stage.simulated.set(hour)
            arriving = self._senders.submit(self._deliver, before, hour)
            asking = Asking.of(self._year.leaving(hour)) if hour < self._until else None
            arriving.result()
        due = self._train_by_hand(hour) or self._story.canary or hour - self._settled >= _IDLE
        turning = self._senders.submit(self._client.tick) if due else None
        if asking is not None:
            with self._timed("asking"):
                self._ask(asking, lanes, runner)
        if turning is not None:
            self._settled = hour
            self._settle(turning.result)

    def _train_by_hand(self, hour: datetime) -> bool:
        due = [what for what, (at, _) in CANDIDATES.items() if at <= hour < self._until]
        new = [what for what in due if what not in self._injected]
        for what in new:
            self._injected[what] = hour
            function = CANDIDATES[what][1]
            self._client.train(MODEL, reason=f"by hand: {what}", using=function, tags={INJECTED: what})
        return bool(new)

    def _deliver(self, before: datetime, hour: datetime) -> None:
        self._client.deliver([self._parcel(one, hour) for one in self._year.delivered(before, hour)])

    def _parcel(self, delivery: Delivery, hour: datetime) -> Parcel:
        rows, tags = delivery.rows, {}
        if delivery.dataset == "weather" and UNIT_FROM <= hour < UNIT_UNTIL:
            self._injected.setdefault(UNIT, hour)
            rows, tags = faults.in_inches_of_mercury(rows), {INJECTED: UNIT}
        return Parcel(delivery.dataset, rows, delivery.token, tags)

    def _ask(self, asking: Asking, lanes: Lanes, runner: asyncio.Runner) -> None:
        said = runner.run(lanes.ask(asking.groups))
        answers = [answer for group in said for answer in group]
        self._asked.append(asking.flights)
        self._answers += answers
        self._progress.requests += len(answers)
        self._progress.failed += sum(answer.status != 200 for answer in answers)
        versions = {answer.arm: answer.version for answer in answers}
        self._progress.champion = versions.get("champion", self._progress.champion)
        self._progress.canary = self._story.canary

    def _settle(self, turn: Callable[[], Tick] | None = None) -> None:
        """Let the controller do what there is to do; simulated time stands still while something runs."""
        with self._timed("controlling"):
            tick = turn() if turn else self._client.tick()
        with self._timed("training and judging"):
            waited = bool(tick.busy)
            while tick.busy:
                self._stage.clock.sleep(_POLL)
                tick = self._client.tick()
        # What a job did is told by no tick: it is in the store once there is nothing more to wait for.
        if tick.did or waited:
            for line in self._story.look():
                self._progress.tell(line)

    def _compare(self, hour: datetime) -> None:
        assert self._rolling is not None
        found = self._rolling.week(hour, self._frame())
        self._progress.frozen, self._progress.loop = quality(found, "frozen"), quality(found, "score")

    def _frame(self) -> pl.DataFrame:
        """Every answer so far, beside what was asked."""
        return pl.concat(self._asked).with_columns(
            pl.Series("prediction_id", [a.prediction_id for a in self._answers], pl.String),
            pl.Series("version", [a.version for a in self._answers], pl.Int64),
            pl.Series("score", [a.score for a in self._answers], pl.Float64),
            pl.Series("status", [a.status for a in self._answers], pl.Int64),
        )

    def _replayed(self, end: datetime) -> Replayed:
        frame = self._frame()
        return Replayed(
            began=FIRST,
            until=end,
            seconds=self._stage.clock.monotonic() - self._began,
            parts=dict(self._parts),
            answers=frame.filter(pl.col("status") == 200),
            failed=frame.filter(pl.col("status") != 200).height,
            injected=self._injected,
        )

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = self._stage.clock.monotonic()
        try:
            yield
        finally:
            self._parts[part] += self._stage.clock.monotonic() - began


@dataclass(frozen=True)
class Asking:
    """The flights of an hour, by airport, and the JSON of each: an airport asks about all of its own at once."""

    flights: pl.DataFrame
    groups: list[list[bytes]]

    @classmethod
    def of(cls, flights: pl.DataFrame) -> Asking | None:
        """What there is to ask about ``flights``; None without any."""
        if not flights.height:
            return None
        airports = flights.partition_by("origin", maintain_order=True)
        return cls(
            pl.concat(airports).select("flight", "sched_dep"), [bodies(airport) for airport in airports]
        )


class Rolling:
    """The last seven days, the loop against the frozen model, from what has been logged so far."""

    def __init__(self, stage: Stage, year: Year) -> None:
        self._container, self._year = stage.container, year
        self._frozen = Frozen(stage.container)
        self._seen = 0
        self._scores: list[pl.DataFrame] = []

    def week(self, now: datetime, answers: pl.DataFrame) -> pl.DataFrame:
        """Labelled answers to flights of the last seven days."""
        log = logged(self._container, self._seen)
        if log.height:
            self._seen = int(log[SEQ].max() or 0)  # type: ignore[arg-type] # an int64 column
            self._scores.append(self._frozen.scores(log))
        recent = answers.filter(pl.col("sched_dep") >= now - _WEEK, pl.col("status") == 200)
        labels = self._year.before("landings", now - _WEEK - timedelta(days=1), now).select("flight", "late")
        return recent.join(pl.concat(self._scores), on="prediction_id").join(labels, on="flight")


async def _closed(lanes: Lanes) -> None:
    lanes.close()


def main(arguments: Sequence[str]) -> int:
    """Run the demo; returns the exit status."""
    options = _parser().parse_args(arguments)
    home: Path = options.home
    html, report = options.html or home / "report.html", options.report or home / "report.json"
    stage = Stage(home, MONTHS[0])
    with interruptible() as interrupts, Progress(FIRST, options.until) as progress:
        try:
            year = Year()
            with stage:
                progress.say(f"Homeostat runs at {stage.client.server}, its home is {stage.home}")
                replayed = Demo(stage, year, options.until, progress).run()
                progress.say("Scoring the frozen first model on the same requests")
                made = gather(stage.container, replayed)
                write(made, html, report)
                kept = {"control": stage.client.server, "predictions": stage.client.deployments()[0]["url"]}
                if options.keep:
                    stage.keep()
        except BaseException:
            # An interruption need not arrive as one: an import that it breaks off may fail in its own way.
            if not interrupts.came:
                raise
            interrupts.over()
            stage.stop()  # where it came just as the stage was left
            progress.say(
                f"Interrupted. The servers are stopped; what happened so far is in {home.absolute()}"
            )
            return INTERRUPTED
    summary(made, progress.console)
    progress.say(f"Report: {html.absolute()}\n        {report.absolute()}")
    if options.keep:
        progress.say(f"Kept: {kept['control']} (control), {kept['predictions']} (predictions)")
        progress.say(f"Stop it with: homeostat down --home {stage.home}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="homeostat demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the servers running at the end")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="default: report.json in the home")
    parser.add_argument("--html", type=Path, metavar="FILE.html", help="default: report.html in the home")
    parser.add_argument(
        "--home", type=Path, default=Path("homeostat-demo"), metavar="DIR", help="where it plays"
    )
    parser.add_argument(
        "--until",
        type=_midnight,
        default=NEW_YEAR,
        metavar="YYYY-MM-DD",
        help="end the replay before this day",
    )
    return parser


def _midnight(text: str) -> datetime:
    at = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=_ZONE).astimezone(UTC)
    if not FIRST < at <= NEW_YEAR:
        raise argparse.ArgumentTypeError("give a day from 2013-04-02 to 2014-01-01")
    return at


class Interrupts:
    """Ctrl-C and SIGTERM: both break off what the demo does."""

    def __init__(self) -> None:
        self.came = False
        self._over = False

    def __call__(self, number: int, frame: Any) -> None:
        """Break off, unless it is done already."""
        self.came = True
        if not self._over:
            raise KeyboardInterrupt

    def over(self) -> None:
        """What was to be broken off is: further ones change nothing, and the exit status is the program's own."""
        self._over = True
        # Python remembers an interruption that left a text it executed, as of each dataclass that an import makes, and
        # ends by SIGINT whatever the program says, though it was caught. The next text makes it forget.
        eval("None")


@contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Let SIGTERM end the demo as ctrl-C does: what it started is stopped."""
    interrupts = Interrupts()
    before = {number: signal.signal(number, interrupts) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
