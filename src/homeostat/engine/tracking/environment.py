"""The environment lock: what was installed, in a form that ``pip install -r`` reads."""

from __future__ import annotations

import platform
import re
from importlib.metadata import distributions


def lock() -> str:
    """Python, platform, then every installed distribution as ``name==version``, sorted, one a line."""
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
