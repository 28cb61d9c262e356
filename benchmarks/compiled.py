"""Bytecode is there before anything is timed: a first start would else compile what all others read."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Final

import homeostat

_FOLDERS: Final = (
    "import sysconfig; print(*{sysconfig.get_path(name) for name in ('purelib', 'platlib')}, sep='\\n')"
)


@lru_cache
def compiled(python: str = sys.executable) -> None:
    """Compile what an interpreter has installed, and Homeostat where it is this one; what is compiled already is not
    compiled again."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    told = subprocess.run([python, "-c", _FOLDERS], check=True, stdout=subprocess.PIPE, text=True)
    folders = told.stdout.split("\n")[:-1]
    if python == sys.executable:
        folders.append(str(Path(homeostat.__file__).parent))
    # It fails where a package has files that are no Python of this version, which nobody imports.
    command = [python, "-m", "compileall", "-q", "-j", "0", *folders]
    subprocess.run(command, check=False, env=clean, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
