"""An environment for each peer, made once; a peer that cannot be installed here is left out of the comparison."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

_CACHE = Path(__file__).parents[2] / ".cache" / "environments"
WANTED = {
    "MLServer": ("mlserver>=1.7,<2", "mlserver-sklearn>=1.7,<2"),
    "LitServe": ("litserve>=0.2.17,<0.3", "scikit-learn>=1.7,<2"),
    "BentoML": ("bentoml>=1.4,<2", "scikit-learn>=1.7,<2"),
}


def python_of(peer: str) -> Path | None:
    """The interpreter of a peer's environment; None where it does not install."""
    folder = _CACHE / f"serving-{peer.lower()}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, symlinks=True, clear=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        if subprocess.run([*pip, *WANTED[peer]], check=False).returncode:
            return None
        (folder / "ready").touch()
    return python


def version_of(peer: str) -> str:
    """What is installed."""
    python = python_of(peer)
    program = f"import importlib.metadata as m; print(m.version({peer.lower()!r}))"
    return subprocess.check_output([str(python), "-c", program], text=True).strip()
