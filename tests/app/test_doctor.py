"""The doctor tries everything, cleans up after itself and says what to do."""

from __future__ import annotations

import shutil
import socket
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from homeostat.adapters.clock import SimulatedClock
from homeostat.app.container import Container
from homeostat.app.doctor import Check, diagnose
from homeostat.app.serving import ModelServing
from homeostat.app.settings import Settings
from homeostat.domain.records import Cursor
from tests.app.receiving import SECRET, receiving


def settings(home: Path, **values: object) -> Settings:
    return Settings(home=home, **({"port": 0, "serve_port": 0} | values))  # type: ignore[arg-type]  # checked there


def checks(found: Settings) -> dict[str, Check]:
    return {check.name: check for check in diagnose(found)}


def test_a_fresh_home_is_well(tmp_path: Path) -> None:
    found = checks(settings(tmp_path / "home"))
    assert {name: check.detail for name, check in found.items() if not check.ok} == {}
    assert list(found) == [
        "python", "disk", "clock", "store", "blobs", "tables", "online", "executor", "port", "serve_port",
    ]  # fmt: skip
    assert all(check.seconds >= 0 and check.detail for check in found.values())


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    found = settings(tmp_path)
    diagnose(found)
    with Container(found) as container:
        assert container.store.find(Cursor) == []
        assert list(container.blobs.stored()) == []
    assert list((tmp_path / "tables").iterdir()) == []


def test_what_does_not_answer_is_named_with_a_remedy_and_the_rest_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    found = checks(
        settings(
            tmp_path, blobs="s3://bucket", tables=str(tmp_path / "tables"), online="redis://127.0.0.1:9/0"
        )
    )
    assert [name for name, check in found.items() if not check.ok] == ["blobs", "online"]
    assert "AWS_ENDPOINT_URL" in found["blobs"].remedy
    assert "HOMEOSTAT_ONLINE" in found["online"].remedy


def test_the_fullest_of_all_disks_that_are_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blobs").mkdir()
    of_blobs = {str(tmp_path / "blobs"): 1 << 29}
    monkeypatch.setattr(
        shutil, "disk_usage", lambda folder: SimpleNamespace(free=of_blobs.get(str(folder), 1 << 40))
    )
    found = checks(settings(tmp_path / "home", blobs=str(tmp_path / "blobs")))["disk"]
    assert not found.ok
    assert found.detail == f"0.5 GiB free at {tmp_path / 'blobs'}"


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        found = checks(settings(tmp_path, port=port))["port"]
    assert not found.ok
    assert str(port) in found.detail
    assert "HOMEOSTAT_PORT" in found.remedy


def test_the_port_of_its_own_model_server_is_no_trouble(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        chosen = settings(tmp_path, serve_port=port)
        with Container(chosen) as container:
            ModelServing(container, "w1").beat("/nowhere/w1.sock", port)
        found = checks(chosen)["serve_port"]
    assert found.ok, found
    assert "in use by this Homeostat" in found.detail


def test_a_host_that_is_not_ours_is_named(tmp_path: Path) -> None:
    found = checks(settings(tmp_path, host="192.0.2.1"))["port"]
    assert not found.ok
    assert "HOMEOSTAT_HOST" in found.remedy


def test_a_home_that_cannot_be_is_the_one_finding(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (check,) = diagnose(settings(tmp_path / "file" / "home"))
    assert (check.name, check.ok) == ("home", False)
    assert "HOMEOSTAT_HOME" in check.remedy


def test_a_simulated_clock_is_told(tmp_path: Path) -> None:
    found = settings(tmp_path, clock="simulated")
    missing = checks(found)["clock"]
    assert not missing.ok
    assert missing.remedy
    SimulatedClock(tmp_path / "clock", datetime(2013, 7, 1, tzinfo=UTC)).close()
    assert checks(found)["clock"].detail.startswith("simulated: 2013-07-01 00:00:00 UTC, this machine: 20")


def test_a_channel_is_proved_by_a_trial_that_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMEOSTAT_CHANNEL_OPS_SECRET", SECRET)
    with receiving() as receiver:
        declared = f"ops webhook {receiver.url}; away webhook http://127.0.0.1:9; chat apprise"
        monkeypatch.setenv("HOMEOSTAT_CHANNEL_AWAY_SECRET", SECRET)
        found = checks(settings(tmp_path, channels=declared))
        assert receiver.posts[0].event["subject"] == "channel/ops"
    assert found["channel ops"].ok
    assert "HOMEOSTAT_CHANNEL_AWAY_URL" in found["channel away"].remedy
    assert found["channel chat"].remedy == "Set HOMEOSTAT_CHANNEL_CHAT_URL"
