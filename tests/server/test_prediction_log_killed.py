"""kill -9 at any moment loses the newest predictions at most, never one that was stored, and never part of one."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.server.workers import Worker, eventually, write_deployments


def test_a_killed_worker_loses_nothing_but_the_newest_predictions(tmp_path: Path) -> None:
    write_deployments(tmp_path, {"flights": (1, [(1, 1.0, "champion")])})
    worker = Worker(tmp_path).start()
    answered: list[str] = []

    def stored() -> set[str]:
        log = worker.logged()
        return set(log["prediction_id"]) if log.height else set()

    def ask(count: int) -> None:
        for _ in range(count):
            answered.append(worker.ask(id=str(len(answered))).json()["prediction_id"])

    ask(30)
    # Nobody asks for it: the log is written out by itself.
    eventually(lambda: stored() >= set(answered))
    ask(30)
    worker.stop(signal.SIGKILL)
    kept = stored()
    assert kept >= set(answered[:30])
    # Whatever of the rest was stored was answered before whatever was not.
    assert [id for id in answered if id in kept] == answered[: len(kept)]
    again = Worker(tmp_path, worker.port).start()
    again.ask()
    assert again.stop() == 0
    assert len(stored()) == len(kept) + 1
