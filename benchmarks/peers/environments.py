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
# Newer pandas and NumPy are more than these can be imported with.
_PINS = ("pandas>=2,<3", "numpy>=1.26,<2")
DRIFT = {
    "Evidently": ("evidently>=0.7.23,<0.8", *_PINS),
    "NannyML": ("nannyml>=0.13.1,<0.14", "statsmodels>=0.14,<1", *_PINS),
    "whylogs": ("whylogs[viz]>=1.6.4,<2", *_PINS),
}


def python_of(peer: str) -> Path | None:
    """The interpreter of a peer's environment; None where it does not install."""
    folder = _CACHE / f"{'drift' if peer in DRIFT else 'serving'}-{peer.lower()}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, symlinks=True, clear=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        if subprocess.run([*pip, *(WANTED | DRIFT)[peer]], check=False).returncode:
            return None
        (folder / "ready").touch()
    return python


def version_of(peer: str) -> str:
    """What is installed."""
    python = python_of(peer)
    program = f"import importlib.metadata as m; print(m.version({peer.lower()!r}))"
    return subprocess.check_output([str(python), "-c", program], text=True).strip()
