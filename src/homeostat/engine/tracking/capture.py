"""What a run is reproduced from: environment, commit and seeds."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import msgspec

from homeostat.engine.tracking.environment import lock


class Captured(msgspec.Struct, frozen=True):
    """The surroundings of a run.

    Args:
        environment: The environment lock's text.
        commit: The git commit of the project; empty outside a repository.
        dirty: Files of the project differ from that commit.
    """

    environment: str
    commit: str = ""
    dirty: bool = False


def capture(root: Path) -> Captured:
    """Capture the environment and, where ``root`` is in a git repository, its commit."""
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    return Captured(lock(), commit, bool(commit and _git(root, "status", "--porcelain", "--", ".")))


def seed(number: int) -> None:
    """Seed Python's and NumPy's global generators, so that a training function need not."""
    import numpy as np

    random.seed(number)
    np.random.seed(number % 2**32)


def _git(root: Path, *arguments: str) -> str:
    """What git says; nothing where there is no git, no repository or no commit."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
