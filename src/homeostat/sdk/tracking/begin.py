"""``hs.run``: a run begins."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from typing import Any

from homeostat.adapters.clock import SystemClock
from homeostat.app.settings import Settings
from homeostat.domain.errors import BadRequest
from homeostat.engine.tracking import entries, limits
from homeostat.engine.tracking.axes import tags_of
from homeostat.engine.tracking.capture import seed as seed_all
from homeostat.engine.tracking.names import run_name
from homeostat.sdk.tracking import active
from homeostat.sdk.tracking.energy import Tariff
from homeostat.sdk.tracking.resuming import next_step
from homeostat.sdk.tracking.run import NAME_TAG, Run, new_run_id


def run(
    experiment: str = "Default",
    *,
    name: str = "",
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    notes: str = "",
    group: str = "",
    axes: str | Mapping[str, str] | None = None,
    parent: Run | str | None = None,
    id: str = "",
    seed: int | None = None,
    capture: bool = True,
    sample: float = 10.0,
) -> Run:
    """Begin a run, as in ``with hs.run("churn", params={"depth": 6}): …``; it is active until it ends.

    What is logged goes to the spool in the home first and from there to the server, now or when there is one.
    Inside the block of another run it is that run's child; a thread is inside of none that it did not begin, unless
    ``parent`` says so. Without a block it ends with ``finish``, with the next run that the same thread or task begins
    beside it, or with the program.

    Args:
        experiment: The name of the experiment, which is made when it is not there.
        name: The run's name; one is made up when it is empty.
        params: Parameters, as of ``Run.log_params``.
        tags: Marks, as of ``Run.tag``.
        notes: A description in Markdown.
        group: A name that several runs share.
        axes: Against what metrics are drawn, as of ``Run.axes``; by default their step.
        parent: The run, or its id, whose child this is; by default the one whose block this is in.
        id: Go on with the run of this id, at the step after its last, or give it to the new one.
        seed: Seed Python, NumPy, and PyTorch where it is imported, and note it.
        capture: Note command, commit and uncommitted differences, environment, seeds, machine, samples of it, and the
            end of what is printed; without secrets.
        sample: Seconds between two samples of the machine; 0: none.

    Raises:
        BadRequest: a name or a text that cannot be.
    """
    from homeostat.app.running import following

    limits.check_experiment_name(experiment)
    if id and not (id.isascii() and id.isalnum() and len(id) <= 64):
        raise BadRequest(f"{id!r} is no run's id", field="id", remedy="Use up to 64 letters and digits")
    around = active.around()
    if around is not None and not around.entered and parent is not around:
        around.finish()
        around = None
    if parent is None:
        parent = around
    settings = Settings.load()
    texts = {name: str(value) for name, value in (tags or {}).items() if value is not None}
    name = name or texts.get(NAME_TAG, "") or ("" if id else run_name())  # one that goes on keeps its own
    if name:
        texts[NAME_TAG] = name
    if notes:
        texts["mlflow.note.content"] = notes
    if group:
        texts["homeostat.group"] = group
    if axes:
        texts |= tags_of(axes)
    if parent is not None:
        texts["mlflow.parentRunId"] = parent if isinstance(parent, str) else parent.id
    if seed is not None:
        texts["homeostat.seed"] = str(seed)
    texts["mlflow.user"] = _user()
    limits.check_tags(texts)
    at = SystemClock().milliseconds()
    began = entries.Began(experiment=experiment, name=name, actor=texts["mlflow.user"], at=at, tags=texts)
    if seed is not None:
        seed_all(seed)
    made = Run(
        settings.home / "spool",
        following(settings),
        began,
        id or new_run_id(),
        capture=capture,
        sample=sample,
        around=around,
        within=parent if isinstance(parent, Run) else None,
        inner=around is not None or (isinstance(parent, Run) and parent.state is None),
        tariff=Tariff.of(settings),
        step=next_step(settings, id) if id else 0,
    )
    active.entered(made)
    if params:
        made.log_params(params)
    return made


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user in this container
        return ""
