"""What the demo shows while it runs: on a terminal a live line under the story, else a line a week."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from examples.flights.measure import NEW_YORK, Quality
from examples.flights.story import Line

_COLOURS: Final = {"good": "green", "bad": "red", "notice": "cyan"}
_WEEK: Final = timedelta(days=7)
_ZONE: Final = ZoneInfo(NEW_YORK)


class Progress:
    """The demo's voice. A context manager.

    Args:
        start: When the replay begins.
        end: When it ends.
        console: Where it speaks.
    """

    def __init__(self, start: datetime, end: datetime, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._start, self._end, self._now = start, end, start
        self._week = start
        self.requests = self.failed = 0
        self.champion = 0
        self.canary = 0
        self.frozen: Quality | None = None
        self.loop: Quality | None = None
        self._live: Live | None = None

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self._live = Live(self, console=self.console, refresh_per_second=4, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)
            self._live = None

    def say(self, text: str) -> None:
        """A line of its own."""
        self.console.print(text, markup=False)

    def tell(self, line: Line) -> None:
        """Something that happened."""
        made = Text.assemble(
            f"{line.at.astimezone(_ZONE):%d %b %H:%M}  ",
            (f"{line.sign} {line.word:<12}", _COLOURS[line.tone]),
            ("[injected] " if line.injected else "", "magenta"),
            line.text,
        )
        self.console.print(made)

    def move(self, now: datetime) -> None:
        """Simulated time has moved on."""
        self._now = now
        if self._live is None and now - self._week >= _WEEK:
            self._week = now
            self.say(self._line())
            self.frozen = self.loop = None  # a number is told once, not as if it were this week's

    def _line(self) -> str:
        shown = [
            f"{self._now.astimezone(_ZONE):%d %b %Y}",
            f"{self.requests:,} flights",
            f"champion @{self.champion}" + (f" canary @{self.canary}" if self.canary else ""),
        ]
        if self.failed:
            shown.append(f"{self.failed:,} failed")
        if self.loop is not None and self.frozen is not None:
            shown.append(f"log loss of 7 days: loop {_number(self.loop)}, frozen {_number(self.frozen)}")
        return "  ".join(shown)

    def __rich__(self) -> Table:
        share = (self._now - self._start) / (self._end - self._start)
        filled = round(min(max(share, 0.0), 1.0) * 24)
        table = Table.grid(padding=(0, 1))
        table.add_row(
            Text("━" * filled, "cyan") + Text("━" * (24 - filled), "bright_black"), Text(self._line())
        )
        return table


def _number(quality: Quality) -> str:
    return "–" if quality.log_loss is None else f"{quality.log_loss:.4f}"
