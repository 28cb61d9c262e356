"""What a run is reproduced from: environment, commit and seeds."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import msgspec

from homeostat.engine.tracking.code import git
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
    commit = git(root, "rev-parse", "--verify", "HEAD").strip()
    return Captured(lock(), commit, bool(commit and git(root, "status", "--porcelain", "--", ".")))


def seed(number: int) -> None:
    """Seed the global generators of Python and NumPy, and PyTorch's where it is imported, so that nobody else need."""
    import numpy as np

    random.seed(number)
    np.random.seed(number % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(number)
