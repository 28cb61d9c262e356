"""Ctrl-C ends the demo with status 130 wherever it comes, and what must be whole is done before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from examples.flights.demo import INTERRUPTED, interruptible
from examples.flights.stage import uninterrupted
from tests.examples.test_flights_demo import environment

# As an import does that makes dataclasses: Python remembers of this one that it was not caught within the text.
PROGRAM = """
import sys
from examples.flights.demo import INTERRUPTED, interruptible

with interruptible() as interrupts:
    try:
        exec("import signal; signal.raise_signal(signal.SIGINT)")
    except BaseException:
        interrupts.over()
        sys.exit(INTERRUPTED)
"""


def test_the_exit_status_is_the_programs_own(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(PROGRAM)
    found = environment()
    found["PYTHONPATH"] += f"{os.pathsep}{tmp_path}"
    ended = subprocess.run([sys.executable, "-m", "interrupted"], env=found, timeout=200, check=False)
    assert ended.returncode == INTERRUPTED == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_must_be_whole_is_done_before_and_a_second_ctrl_c_changes_nothing(number: int) -> None:
    done = []

    def what_must_be_whole() -> None:
        with uninterrupted():
            signal.raise_signal(number)
            signal.raise_signal(number)
            done.append("whole")

    with interruptible() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            what_must_be_whole()
        assert interrupts.came
        interrupts.over()
        signal.raise_signal(number)
    assert done == ["whole"]
