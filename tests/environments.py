"""Python environments of their own for programs that Homeostat is measured or tried against.

One is made from a lock file with hashes, and reused for as long as neither that file nor the interpreter changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
_CACHE = ROOT / ".cache" / "environments"


def python_of(name: str) -> Path:
    """The interpreter of the environment that `requirements/<name>.txt` describes, which is made if need be."""
    lock_file = ROOT / "requirements" / f"{name}.txt"
    made_of = f"{sys.version} {sys.base_prefix}".encode() + lock_file.read_bytes()
    folder = _CACHE / f"{name}-{hashlib.sha256(made_of).hexdigest()[:16]}"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # several workers of a test run want it at once
        if not (folder / "ready").exists():
            _make(folder, lock_file)
    return folder / "bin" / "python"


def _make(folder: Path, lock_file: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, symlinks=True)
    python = str(folder / "bin" / "python")
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
    flags = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--no-compile"]
    subprocess.run([*pip, *flags, "-r", str(lock_file)], check=True, stdin=subprocess.DEVNULL)
    # Some packages ship templates as .py, which do not compile and are never imported.
    subprocess.run(
        [python, "-m", "compileall", "-q", "-j", "0", str(folder / "lib")],
        check=False,
        stdout=subprocess.DEVNULL,
    )
    (folder / "ready").touch()
