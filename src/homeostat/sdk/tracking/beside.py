"""What is done beside a run while it goes on: looking around at its beginning, samples, and what it prints."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from homeostat.adapters.clock import SystemClock
from homeostat.engine.tracking.secrets import Redactor
from homeostat.sdk.tracking.console import Console
from homeostat.sdk.tracking.energy import Energy, Tariff
from homeostat.sdk.tracking.sampler import Sampler
from homeostat.sdk.tracking.surroundings import Surroundings, interactive_shell, seeds, surroundings

_MOST_CELLS: Final = 256 << 10
_found: Surroundings | None = None  # by the outermost run; what is inside it is surrounded by the same


class Beside:
    """Looks after one run. Made by the thread that begins it; all else is done by the session's.

    Args:
        tag: Tags the run.
        log: Logs points, at a step.
        sample: Seconds between two samples of the machine; 0: none.
        inner: The run is inside another one, which is looked after: this one has only its tags.
        tariff: Where the machine stands and what energy costs there.
    """

    def __init__(
        self,
        tag: Callable[[Mapping[str, str]], None],
        log: Callable[[dict[str, float], int], None],
        *,
        sample: float,
        inner: bool,
        tariff: Tariff,
    ) -> None:
        self._tag, self._log = tag, log
        self._every = sample
        self._inner = inner
        self._seeds = seeds()
        self._redactor = Redactor(dict(os.environ))
        self._console = None if inner else Console()
        self._shell = None if inner else interactive_shell()
        self._clock = SystemClock()
        self._sampler: Sampler | None = None
        self._energy = Energy(tariff) if sample > 0 and not inner and Energy.installed() else None
        self._samples = 0
        self._due = 0.0

    def first(self, folder: Path) -> None:
        """Look around; files go to ``folder``."""
        global _found
        if _found is None or not self._inner:
            _found = surroundings(self._redactor, self._seeds)
        found = msgspec.structs.replace(_found, seeds=self._seeds)
        self._tag(found.tags())
        if not self._inner:
            for name, content in found.files().items():
                _write(folder / name, content)
            if self._every > 0:
                self._sampler = Sampler()
                self._due = self._clock.monotonic() + min(self._every, 1.0)

    def each(self, folder: Path) -> None:
        """Do what is due; called each second, and a last time at the end."""
        if self._sampler is not None and self._clock.monotonic() >= self._due:
            self._due = self._clock.monotonic() + self._every
            self._log(self._sampler.sample() | self._used(), self._samples)
            self._samples += 1
        if self._console is not None and self._console.tail.changed:
            _write(folder / "console.txt", self._redactor.text(self._console.tail.text()).encode())
        # From the first on: what a run uses was defined before it began.
        if cells := _cells(self._shell):
            told = "\n\n".join(f"# [{n}]\n{cell}" for n, cell in enumerate(cells, 1))
            _write(folder / "cells.py", self._redactor.text(told[-_MOST_CELLS:]).encode())

    def _used(self) -> dict[str, float]:
        """Energy since the first sample: a run that is shorter is not worth looking at the machine for seconds."""
        if self._energy is None:
            return {}
        if self._samples == 0:
            self._tag(self._energy.tags())
            self._energy.start()
        return self._energy.sample()

    def close(self) -> None:
        """End what is measured, and let go of what the program prints."""
        if self._energy is not None and (used := self._energy.close()):
            self._log(used, self._samples)
        if self._console is not None:
            self._console.close()


def _cells(shell: Any) -> list[str]:
    """What was entered into a notebook, the cell that runs included."""
    return [] if shell is None else list(shell.history_manager.input_hist_raw[1:])


def _write(path: Path, content: bytes) -> None:
    """Write a file, unless it is there with the same content; a reader sees the old one or the new one."""
    if path.exists() and path.read_bytes() == content:
        return
    fresh = path.with_name(f".{path.name}")
    fresh.write_bytes(content)
    fresh.rename(path)
