"""A backtest as a whole: what is to be replayed, the processes that do it, and what came of it.

A backtest lies in a folder that is named by what it replays. The same one run again goes on where it was
interrupted, and is there at once where it was done.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from homeostat.app.backtest.history import fingerprint, keep
from homeostat.app.backtest.job import FAILED, Failed
from homeostat.app.backtest.plan import FILE, Plan, read_plan
from homeostat.app.backtest.policies import Policy
from homeostat.app.backtest.replay import reached
from homeostat.app.backtest.results import Result, is_kept, kept
from homeostat.app.container import Container
from homeostat.app.projects import Declared, checkout, snapshot
from homeostat.domain.declarations import Model
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import BadRequest, HomeostatError, NotFound

_POLL: Final = 0.2
_ONE: Final = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

Told = Callable[[Mapping[str, float]], None]


def prepare(
    container: Container,
    declared: Declared,
    policies: Sequence[Policy],
    *,
    start: datetime,
    end: datetime,
    model: str = "",
    step: timedelta | None = None,
    data: Mapping[str, Path] | None = None,
    fresh: bool = False,
) -> Path:
    """Write down a backtest, and the history that it replays; returns its folder.

    Args:
        container: The store that holds the history, and whose home the folder is in.
        declared: The project.
        policies: Whose rules; their names differ.
        start: When the first model is trained; what came before is what it learns from.
        end: When nobody asks any more.
        model: Which model; may be left out where the project declares one.
        step: The time between two turns of the controller; by default the model's ``check_every``, or a day.
        data: Files with the rows of datasets; those of the others are the store's.
        fresh: Begin again, whatever was done.

    Raises:
        NotFound: there is no such model, or no rows.
        BadRequest: the span is none, or two policies have one name.
        ContractBroken: requests or labels have no time, or a file breaks its contract.
    """
    chosen = model_of(declared, model)
    if start >= end:
        raise BadRequest(
            f"there is nothing from {start:%Y-%m-%d} to {end:%Y-%m-%d}",
            field="to",
            remedy="Give --to a later day than --from",
        )
    names = [policy.name for policy in policies]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRequest(
            f"two policies are named {twice!r}", field="policy", remedy="Give one of the files another name"
        )
    detecting = next((policy.name for policy in policies if policy.detector), "")
    if detecting and chosen.task.type != "binary":
        raise BadRequest(
            f"{detecting} looks at whether answers are right, which those of model/{chosen.name} are not simply",
            field="beside",
            remedy="Compare a binary task with it; or leave it out",
        )
    every = chosen.retrain.check_every if chosen.retrain else "1d"
    plan = Plan(
        project=declared.name,
        file=declared.file.name,
        code=snapshot(container.blobs, declared.root, declared.file.name),
        history=fingerprint(chosen, container, data or {}),
        model=chosen.name,
        start=start,
        end=end,
        step=step or parse_duration(every),
        rest=parse_duration(chosen.retrain.cooldown) if chosen.retrain else timedelta(0),
        policies=tuple(policies),
    )
    folder = container.settings.home / "backtests" / plan.name
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    if not (folder / FILE).is_file():
        keep(folder / "history", chosen, container, data or {})
        files = checkout(container.blobs, plan.code, container.settings.home)
        shutil.copytree(files, folder / "project", dirs_exist_ok=True)
        unfinished = folder / f"{FILE}.part"
        unfinished.write_bytes(msgspec.json.encode(plan))
        unfinished.replace(folder / FILE)
    return folder


def model_of(declared: Declared, name: str) -> Model:
    """The model of that name, or the only one.

    Raises:
        NotFound: there is no such model, or there are several and none was named.
    """
    known = ", ".join(declared.models) or "none"
    if not name and len(declared.models) != 1:
        raise NotFound(f"the project declares {known}", remedy="Name one with --model")
    found = declared.models.get(name or next(iter(declared.models)))
    if found is None:
        raise NotFound(f"there is no model/{name}", remedy=f"The project declares {known}")
    return found


def run(container: Container, folder: Path, told: Told, *, processes: int = 0) -> list[Result]:
    """Replay every policy of a backtest, or what is left to be; several at once.

    Args:
        container: Whose clock waits.
        folder: What ``prepare`` gave.
        told: Is told the share that is done by policy, a few times a second.
        processes: How many at once; 0: as there are processors.

    Raises:
        HomeostatError: a policy could not be replayed; says which, and why.
    """
    from homeostat.adapters.executors import LocalExecutor

    plan = read_plan(folder)
    homes = {policy.name: plan.home(folder, policy) for policy in plan.policies}
    waiting = [home for home in homes.values() if not is_kept(home)]
    for home in waiting:
        (home / FAILED).unlink(missing_ok=True)
    executor = LocalExecutor(
        _ONE, logs=folder / "logs", monotonic=container.clock.monotonic, module="homeostat.app.backtest.job"
    )
    running = [f"replay.{number}" for number in range(min(processes or os.cpu_count() or 1, len(waiting)))]
    try:
        for name in running:
            executor.submit(name, [str(folder)])
        while running:
            container.clock.sleep(_POLL)
            told({name: _share(plan, home) for name, home in homes.items()})
            for name, state in executor.states().items():
                if state != "running":
                    running.remove(name)
                if state == "failed":
                    raise _failure(homes, executor.log_of(name))
    finally:
        executor.close()
    told(dict.fromkeys(homes, 1.0))
    return [kept(home) for home in homes.values()]


def _share(plan: Plan, home: Path) -> float:
    if is_kept(home):
        return 1.0
    at = reached(home, plan.start)
    return (at - plan.start) / (plan.end - plan.start)


def _failure(homes: Mapping[str, Path], log: Path) -> HomeostatError:
    for name, home in homes.items():
        file = home / FAILED
        if file.is_file():
            why = msgspec.json.decode(file.read_bytes(), type=Failed)
            return HomeostatError(f"policy {name}: {why.message}", remedy=why.remedy)
    return HomeostatError("a process of the backtest ended before it was done", remedy=f"Read {log}")
