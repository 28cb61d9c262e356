"""The environment lock: what was installed, in a form that ``pip install -r`` reads."""

from __future__ import annotations

import platform
import re
import sys
from functools import lru_cache
from importlib.metadata import distributions
from pathlib import Path


def lock() -> str:
    """Python, platform, then every installed distribution as ``name==version``, sorted, one a line."""
    folders = [Path(entry or ".").absolute() for entry in sys.path]
    # What is installed or removed changes its folder: reading hundreds of distributions takes longer than a small fit.
    return _locked(tuple((str(one), one.stat().st_mtime_ns) for one in folders if one.is_dir()))


@lru_cache(maxsize=4)
def _locked(of: tuple[tuple[str, int], ...]) -> str:
    installed = {
        re.sub(r"[-_.]+", "-", name).lower(): metadata["Version"]
        for metadata in (found.metadata for found in distributions())  # parsed at each access
        # A half-removed distribution has files and no metadata.
        if (name := metadata["Name"])
    }
    lines = [
        f"# python {platform.python_version()} ({platform.python_implementation()})",
        f"# platform {platform.system().lower()}-{platform.machine()}",
        *(f"{name}=={version}" for name, version in sorted(installed.items())),
    ]
    return "\n".join(lines) + "\n"
