"""Reads the ten-minute path out of README.md and walks it: files are written, commands run, answers compared."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import homeostat as hs
from tests.server.ups import eventually

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
_BLOCK = re.compile(r"^```(?P<kind>python|console)(?: (?P<file>\S+))?\n(?P<text>.*?)^```$", re.M | re.S)
_ULID = re.compile(r"\b01[0-9A-HJKMNP-TV-Z]{24}\b")
_ADDRESS = re.compile(r"127\.0\.0\.1:\d+")
_PATIENCE = 180.0
_VARYING = (
    (_ULID, "ULID"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "DIGEST"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:00)?"), "TIME"),
    (_ADDRESS, "ADDRESS"),
    (re.compile(r"home \S+"), "home HOME"),
    (re.compile(r"((?:control|worker) +\S+ +)\S+ +\d+"), r"\1HOST PID"),
    (re.compile(r"\(process \d+\)"), "(process PID)"),
    (re.compile(r"latency_us: \d+"), "latency_us: N"),
    (re.compile(r"\d+ events in the ledger"), "N events in the ledger"),
    (re.compile(r"-?\d+\.\d+(e-?\d+)?"), "NUMBER"),
    (re.compile(r"[ \t]+"), " "),
)


@dataclass(frozen=True)
class Block:
    """A fenced block of the README; ``file`` is the file that it shows."""

    kind: str
    file: str
    text: str


@dataclass(frozen=True)
class Step:
    """A command and what the README says it answers."""

    command: str
    expected: str


def blocks() -> list[Block]:
    return [Block(m["kind"], m["file"] or "", m["text"]) for m in _BLOCK.finditer(README.read_text("utf-8"))]


def code(file: str) -> str:
    (found,) = (block.text for block in blocks() if block.file == file)
    return found


def steps() -> list[Step | Block]:
    """The path: files to write and commands to run, in the order of the README."""
    out: list[Step | Block] = []
    for block in blocks():
        if block.kind == "python":
            out += [block] if block.file else []
            continue
        for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
            command, _, expected = part.partition("\n")
            out.append(Step(command, expected))
    return out


def plain(text: str) -> list[str]:
    """Lines without what differs from one walk to the next: names, times, addresses, decimals."""
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return [line.strip() for line in text.strip().splitlines() if line.strip()]


class Walk:
    """One walk along the path, in ``folder``. A context manager: what it started ends with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir()
        self._programs = programs
        for name, command in (("homeostat", f"{sys.executable} -m homeostat"), ("python", sys.executable)):
            (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (programs / name).chmod(0o755)
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("HOMEOSTAT_")
        } | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "HOMEOSTAT_PORT": "0",
            "HOMEOSTAT_SERVE_PORT": "0",
        }
        self._up: subprocess.Popen[str] | None = None
        self._addresses: list[str] = []
        self._asked = ""

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, *_: object) -> None:
        if self._up is not None:
            self._up.send_signal(signal.SIGTERM)
            self._up.communicate(timeout=_PATIENCE)

    def go(self) -> Iterator[tuple[Step, str]]:
        """Take every step; gives each command with its answer."""
        for step in steps():
            if isinstance(step, Block):
                # The path waits a minute for its rules; a test does not.
                (self.folder / step.file).write_text(step.text.replace('"1m"', '"2s"'))
            else:
                yield step, self._run(step)

    def _run(self, step: Step) -> str:
        if step.command.startswith("cd "):
            self.folder = self.folder / step.command.removeprefix("cd ").strip()
            return ""
        if step.command == "homeostat up":
            return self._start()
        if step.command.startswith("sleep "):
            self._await(lambda server: _champions(server) == [2])
            return ""
        command = step.command
        if self._addresses:
            command = command.replace("127.0.0.1:5001", self._addresses[1])
        if self._asked:
            command = _ULID.sub(self._asked, command)
        answer = self._shell(command)
        if asked := re.search(r'"prediction_id":"(\w+)"', answer):
            self._asked = asked[1]
            self._await(self._logged)
        return answer

    def _shell(self, command: str) -> str:
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _start(self) -> str:
        with (self.folder / "up.log").open("w") as log:
            self._up = subprocess.Popen(
                [f"{self._programs}/homeostat", "up"],
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._up.stdout is not None
        line = self._up.stdout.readline()
        self._addresses = _ADDRESS.findall(line)
        # The model server answers and is about to say in the store that it lives.
        self._await(lambda server: server.status()["processes"][1:])
        return line

    def _await(self, come_true: Callable[[hs.Client], object]) -> None:
        """Wait for what the reader of the README has passed over before the next command is typed."""
        with hs.Client(f"http://{self._addresses[0]}") as server:
            eventually(lambda: come_true(server), within=_PATIENCE)

    def _logged(self, server: hs.Client) -> bool:
        """Whether the prediction that was asked for has reached its log."""
        try:
            return bool(server.prediction(self._asked))
        except hs.NotFound:
            return False


def _champions(server: hs.Client) -> list[int]:
    return [arm["version"] for arm in server.deployments()[0]["arms"]]
