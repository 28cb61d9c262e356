import os
from pathlib import Path

import pytest

from tests.cli.invoking import Shell


@pytest.fixture
def homeostat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The command, in an empty folder with no settings but the defaults."""
    for name in [name for name in os.environ if name.startswith("HOMEOSTAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(
        "PYTHONPATH", str(Path(__file__).parents[2] / "src")
    )  # for the processes that it starts
    return Shell(tmp_path, monkeypatch, capsys)
