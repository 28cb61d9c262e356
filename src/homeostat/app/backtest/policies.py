"""Policies: when a model would be trained again. What a file says, or one of those that every policy is compared with.

A policy's file is Python that gives ``retrain``, as in ``retrain = hs.when(hs.every("30d"))`` or ``None`` for never,
and may give ``rollout``. It takes the place of what the project declares: the project's own text stays as it is, with
a line behind it, so that whatever loads the project, now or from a snapshot, finds the policy.
"""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from homeostat.domain.declarations import ABTest, Canary, Dataset, Model, SingleRowLatency, When
from homeostat.domain.declarations.gates import Gate
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import DeclarationError

FILE: Final = "homeostat_policy.py"
_LINE: Final = (
    "\n__import__('homeostat.app.backtest.policies', fromlist=['put']).put(globals(), __file__, {model!r})\n"
)
DETECTORS: Final = ("ADWIN", "DDM")
NEVER: Final = "retrain = None\n"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One policy of a backtest.

    Args:
        name: What it is called.
        text: Its file.
        given: Whether somebody wrote it; the others are there to compare with.
        detector: The drift detector of river on the errors of answers, in place of rules.
        at: Since when the world is another: it trains once there is enough to learn from since each, cut there.
    """

    name: str
    text: str
    given: bool = False
    detector: Literal["", "ADWIN", "DDM"] = ""
    at: tuple[datetime, ...] = ()


DECLARED: Final = Policy(name="declared", text="", given=True)
"""What the project itself declares."""


def read_policy(file: Path) -> Policy:
    """The policy of a file.

    Raises:
        DeclarationError: it is not there, does not run, or says nothing of ``retrain``.
    """
    _said(file)
    return Policy(name=file.stem, text=file.read_text("utf-8"), given=True)


def beside(text: str, step: str, changes: tuple[datetime, ...] = ()) -> Policy:
    """A policy to compare with: ``frozen``, ``every:30d``, ``ADWIN``, ``DDM`` or ``oracle``.

    Raises:
        DeclarationError: there is none of this name.
    """
    kind, _, period = text.partition(":")
    if text == "frozen":
        return Policy(name=text, text=NEVER)
    if text == "oracle":
        grown = f"hs.when(hs.new_labels(growth=1.0), cooldown='1ms', check_every={step!r})"
        return Policy(name=text, text=f"import homeostat as hs\nretrain = {grown}\n", at=changes)
    if text in DETECTORS:
        return Policy(name=text, text=NEVER, detector=text)  # type: ignore[arg-type] # one of them
    if kind == "every" and period:
        parse_duration(period)
        said = f"hs.when(hs.every({period!r}), cooldown='1ms', check_every={step!r})"
        return Policy(name=f"every {period}", text=f"import homeostat as hs\nretrain = {said}\n")
    raise DeclarationError(
        f"{text!r} is nothing to compare with",
        remedy="Use frozen, every:30d, ADWIN, DDM or oracle",
    )


def stage(project: Path, file: str, policy: Policy, model: str, target: Path) -> Path:
    """A copy of a project under a policy; returns its file."""
    if not (target / FILE).is_file():
        shutil.copytree(project, target, dirs_exist_ok=True)
        declaring = target / file
        declaring.write_text((project / file).read_text("utf-8") + _LINE.format(model=model), "utf-8")
        (target / FILE).write_text(policy.text, "utf-8")
    return target / file


def put(namespace: dict[str, Any], file: str, model: str) -> None:
    """Put the policy beside a project's file in place of what the project declares; called by its last line.

    Gates on the machine's speed are left out, for its time stands still. Datasets read no file: what came is history's.
    """
    policy = Path(file).with_name(FILE)
    said = _said(policy) if policy.stat().st_size else {}
    for name, value in list(namespace.items()):
        if isinstance(value, Dataset):
            object.__setattr__(value, "path", None)
        if isinstance(value, Model):
            if value.name != model:
                namespace[name] = replace(value, retrain=None)
                continue
            gates: list[Gate] = [gate for gate in value.gates if not isinstance(gate, SingleRowLatency)]
            retrain, rollout = said.get("retrain", value.retrain), said.get("rollout", value.rollout)
            namespace[name] = replace(value, retrain=retrain, rollout=rollout, gates=gates)


def _said(file: Path) -> Mapping[str, Any]:
    try:
        said = runpy.run_path(str(file), run_name=f"homeostat_policy_{file.stem}")
    except DeclarationError:
        raise
    except FileNotFoundError as error:
        raise DeclarationError(f"there is no policy at {file}", remedy="Name a Python file") from error
    except Exception as error:
        raise DeclarationError(
            f"the policy stops with {type(error).__name__}: {error}", remedy="Correct it", file=str(file)
        ) from error
    if "retrain" not in said or not isinstance(said["retrain"], When | None):
        raise DeclarationError(
            "the policy says nothing of retrain",
            remedy='Write retrain = hs.when(hs.every("30d")), or None for never',
            file=str(file),
        )
    if not isinstance(said.get("rollout"), Canary | ABTest | None):
        raise DeclarationError(
            f"rollout is {said['rollout']!r}", remedy="Write rollout = hs.Canary(…), or None", file=str(file)
        )
    return said
