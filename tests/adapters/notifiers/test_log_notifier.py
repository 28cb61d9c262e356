"""What the log of alerts promises."""

from __future__ import annotations

import multiprocessing
import resource
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from homeostat.adapters.notifiers import LogNotifier, read_alerts
from homeostat.domain.errors import StoreUnavailable
from homeostat.domain.records import Alert

OPEN = Alert(
    id="01J",
    key="drift/temp",
    subject="deployment/flight-delay",
    severity="page",
    state="open",
    summary="temp drifted\nby “much”",
    action="retraining",
    opened_at=datetime(2013, 7, 1, tzinfo=UTC),
    detail={"psi": 0.4},
)
RESOLVED = msgspec.structs.replace(OPEN, state="resolved", resolved_at=datetime(2013, 7, 2, tzinfo=UTC))


def test_each_transition_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "alerts.jsonl"
    assert read_alerts(path) == []
    for alert in (OPEN, RESOLVED, RESOLVED):
        LogNotifier(path).send(alert)
    assert read_alerts(path) == [OPEN, RESOLVED, RESOLVED]
    assert len(path.read_bytes().splitlines()) == 3


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_torn_last_line_is_passed_over_and_removed(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "alerts.jsonl"
    notifier = LogNotifier(path)
    notifier.send(OPEN)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:kept])
    assert read_alerts(path) == [OPEN]
    notifier.send(RESOLVED)
    assert read_alerts(path) == [OPEN, RESOLVED]


def test_a_file_of_one_torn_line_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "alerts.jsonl"
    path.write_bytes(b"{" * 200_000)
    assert read_alerts(path) == []
    LogNotifier(path).send(OPEN)
    assert read_alerts(path) == [OPEN]


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "alerts.jsonl"
    LogNotifier(path).send(OPEN)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
    try:
        with pytest.raises(StoreUnavailable, match=r"alerts\.jsonl"):
            LogNotifier(path).send(RESOLVED)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before


def _send_many(path: Path, name: str) -> None:
    for number in range(50):
        LogNotifier(path).send(msgspec.structs.replace(OPEN, id=f"{name}-{number}"))


def test_processes_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "alerts.jsonl"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_send_many, args=(path, name)) for name in ("a", "b", "c")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {alert.id for alert in read_alerts(path)} == {f"{n}-{i}" for n in "abc" for i in range(50)}
