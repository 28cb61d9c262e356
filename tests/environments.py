"""Python environments of their own for programs that Homeostat is measured or tried against.

One is made from lock files with hashes, and reused for as long as neither these files nor the interpreter change.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
_CACHE = ROOT / ".cache" / "environments"


def python_of(*names: str) -> Path:
    """The interpreter of the environment that the `requirements/<name>.txt` describe, which is made if need be."""
    locks = [(ROOT / "requirements" / f"{name}.txt").read_text() for name in names]
    made_of = "\n".join([sys.version, sys.base_prefix, *locks])
    folder = _CACHE / f"{'-'.join(names)}-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # several workers of a test run want it at once
        if not (folder / "ready").exists():
            _make(folder, locks)
    return folder / "bin" / "python"


def _make(folder: Path, locks: list[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, symlinks=True)
    python = str(folder / "bin" / "python")
    for lock in locks:
        _install(folder, python, lock)
    # Nothing is compiled beforehand: of such packages little is imported, which is compiled then.
    (folder / "ready").touch()


def _install(folder: Path, python: str, lock: str) -> None:
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "--disable-pip-version-check",
        "install",
        "--quiet",
    ]
    flags = ["--no-deps", "--only-binary=:all:", "--no-compile"]
    torch = re.search(r"^torch==[\w.]+", lock, re.MULTILINE)
    if torch is not None:
        # The index's build for Linux needs gigabytes of CUDA. One for processors alone, which is not on the index, is
        # taken from where pip is told to look (find-links), if it is there.
        found = subprocess.run(
            [*pip, *flags, "--no-index", f"{torch[0]}+cpu"],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        if found.returncode == 0:
            needless = re.compile(r"^(cuda-|nvidia-|torch=|triton=)[^\n]*(\n [^\n]*)*\n", re.MULTILINE)
            lock = needless.sub("", lock)
    wanted = folder / "wanted.txt"
    wanted.write_text(lock)
    subprocess.run(
        [*pip, *flags, "--require-hashes", "-r", str(wanted)], check=True, stdin=subprocess.DEVNULL
    )
