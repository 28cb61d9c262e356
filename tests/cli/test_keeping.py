"""`homeostat gc`: says what it would do, and does it when told to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import homeostat as hs
from homeostat.app import tracking
from homeostat.app.artifacts import write
from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.domain.records import Run
from tests.cli.invoking import Shell


def home(folder: Path) -> Container:
    return Container(Settings(home=folder / ".homeostat"))


def test_gc(homeostat: Shell) -> None:
    with home(homeostat.folder) as container:
        experiment = tracking.create_experiment(container, "tides")
        run = tracking.create_run(container, experiment.id)
        write(container, f"{experiment.id}/{run.id}/artifacts/x", b"x" * 1000)
        tracking.delete_run(container, run.id)
        for path in (container.settings.home / "blobs").rglob("*"):
            os.utime(path, (1e9, 1e9))
    young = homeostat("gc").out
    assert "To be freed: 0 blobs" in young
    assert "1 runs, logged models and experiments were deleted within 30d and stay" in young
    said = homeostat("gc", "--older-than", "0d").out
    assert f"run/{run.id}" in said
    assert "and stay" not in said
    assert "To be freed: 1 blobs, 1,000 bytes. Nothing was touched; add --delete." in said
    planned = homeostat("gc", "--older-than", "0d", "--json").json
    assert (planned["deleted"], planned["runs"], planned["freed"]["bytes"]) == (False, [run.id], 1000)
    with home(homeostat.folder) as container:
        assert container.store.get(Run, run.id) is not None
    assert "Freed 1 blobs, 1,000 bytes." in homeostat("gc", "--older-than", "0d", "--delete").out
    with home(homeostat.folder) as container:
        assert container.store.get(Run, run.id) is None
        assert list(container.blobs.stored()) == []
    assert "no duration" in homeostat("gc", "--older-than", "soon", status=2).err


def test_gc_of_the_spool(homeostat: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMEOSTAT_SERVER", "http://127.0.0.1:9")
    for _ in range(2):
        with hs.run("exp", capture=False) as run:
            hs.log(loss=1.0)
    monkeypatch.delenv("HOMEOSTAT_SERVER")
    spool = homeostat.folder / ".homeostat" / "spool"
    (sent,) = (spool / run.id).glob("[!.]*/")
    (sent / "sent").touch()
    os.utime(sent / "sent", (1e9, 1e9))
    told = homeostat("gc", "--json").json["spool"]
    assert (told["streams"], told["waiting"]) == (1, 1)
    assert told["bytes"] > 0
    said = homeostat("gc", "--delete").out
    assert f"Removed from the spool, for a server has it: 1 streams, {told['bytes']:,} bytes." in said
    assert "In the spool 1 streams wait to be sent." in said
    assert not sent.exists()
    assert "spool" not in homeostat("sync").out
    assert "spool" not in homeostat("gc").out
