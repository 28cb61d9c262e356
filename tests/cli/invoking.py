"""The `homeostat` command in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from homeostat.cli.program import run


@dataclass
class Outcome:
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.out)


class Shell:
    """A working directory to give commands in."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        monkeypatch.chdir(folder)

    def cd(self, folder: Path) -> None:
        self.folder = folder
        self._monkeypatch.chdir(folder)

    def __call__(self, *arguments: str | Path, status: int = 0) -> Outcome:
        self._monkeypatch.setattr("sys.argv", ["homeostat", *map(str, arguments)])
        self._capsys.readouterr()
        ended = 0
        try:
            run()
        except SystemExit as end:
            ended = int(end.code or 0)
        said = self._capsys.readouterr()
        assert ended == status, f"status {ended}: {said.out}{said.err}"
        assert "Traceback" not in said.err or "training" in said.err
        return Outcome(ended, said.out, said.err)
