"""A disk that is nearly full shows before the controller has looked: its alert is yet to come, or has no room."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from homeostat.app.space import LEAST
from tests.cli.invoking import Shell


def test_it_shows_before_the_controller_has_looked(homeostat: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    homeostat("init")
    homeostat("apply")
    assert "Nothing is wrong" in homeostat("alerts", "ls").out
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=LEAST - 1))
    told = "255 MiB are left on the disk of"
    assert f"Little space: {told}" in homeostat("status").out
    assert homeostat("status", "--json").json["space"].startswith(told)
    alerts = homeostat("alerts", "ls").out
    assert told in alerts
    assert "Nothing is wrong" not in alerts
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=LEAST))
    assert told not in homeostat("status").out
