"""The code that runs: its commit, and in what it differs from that."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from threading import Thread
from typing import Final

import msgspec

from homeostat.engine.tracking.secrets import Redactor

LARGEST: Final = 1 << 20
_PATIENCE: Final = 10.0
_END: Final = 10.0  # seconds in which a process that says no more is gone
# What often holds secrets is left out of the difference, whatever it says.
_LEFT_OUT: Final = (
    "*.env .env* *.pem *.key *.p12 *.pfx id_*sa* id_ed25519* .netrc .pgpass .npmrc .pypirc kubeconfig* *credential*"
    " *secret*"
)


class Code(msgspec.Struct, frozen=True):
    """A working tree in a git repository.

    Args:
        commit: The commit that is checked out.
        branch: The branch; empty when none is.
        remote: Where it comes from, without credentials.
        dirty: Files that are tracked differ from the commit.
        difference: In what, as a patch without secrets, cut at a mebibyte.
        untracked: How many files git neither tracks nor ignores.
    """

    commit: str
    branch: str = ""
    remote: str = ""
    dirty: bool = False
    difference: str = ""
    untracked: int = 0


def code_of(folder: Path, redactor: Redactor) -> Code | None:
    """The code around ``folder``; None where there is no git, no repository or no commit."""
    commit = git(folder, "rev-parse", "--verify", "HEAD").strip()
    if not commit:
        return None
    states = git(folder, "status", "--porcelain", "--untracked-files=normal").splitlines()
    untracked = sum(line.startswith("??") for line in states)
    difference = ""
    if len(states) > untracked:
        plain = ("--no-color", "--no-ext-diff", "--no-textconv")
        without = (f":(exclude,glob,icase,top)**/{name}" for name in _LEFT_OUT.split())
        whole = git(folder, "diff", *plain, "HEAD", "--", ":/", *without, limit=LARGEST)
        difference = redactor.text(whole)
        if len(whole.encode()) >= LARGEST:
            difference += f"\n(cut at {LARGEST:,} bytes)\n"
    return Code(
        commit=commit,
        branch=git(folder, "symbolic-ref", "--short", "-q", "HEAD").strip(),
        remote=redactor.text(git(folder, "config", "--get", "remote.origin.url").strip()),
        dirty=len(states) > untracked,
        difference=difference,
        untracked=untracked,
    )


def git(folder: Path, *arguments: str, limit: int = -1) -> str:
    """What git says, up to a number of bytes; nothing where it fails."""
    # Whoever works in the tree at the same time is not to find it locked.
    environ = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        process = subprocess.Popen(
            ["git", "-C", str(folder), *arguments],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except (FileNotFoundError, NotADirectoryError):
        return ""
    said: list[bytes] = []
    # Reading has no patience of its own, and what git began may hold the pipe open when git is gone.
    reader = Thread(target=_read, args=(process, limit, said), daemon=True)
    reader.start()
    reader.join(_PATIENCE)
    cut = limit >= 0 and len(b"".join(said)) == limit
    try:
        if cut or reader.is_alive():
            process.kill()
        failed = process.wait(_END)
    except subprocess.TimeoutExpired:
        return ""
    return b"".join(said).decode(errors="replace") if cut or not failed else ""


def _read(process: subprocess.Popen[bytes], limit: int, said: list[bytes]) -> None:
    assert process.stdout is not None
    with process.stdout as out:
        said.append(out.read(limit))
