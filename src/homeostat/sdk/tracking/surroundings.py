"""What a run is surrounded by, noted without being asked: command, code, environment, machine, seeds."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from homeostat.domain.digests import digest_of
from homeostat.engine.tracking.code import Code, code_of
from homeostat.engine.tracking.environment import lock
from homeostat.engine.tracking.secrets import Redactor

_NOTEBOOKS: Final = ("JPY_SESSION_NAME", "VSCODE_NOTEBOOK")


class Surroundings(msgspec.Struct, frozen=True):
    """Where and how a process runs.

    Args:
        command: The command's words, secrets masked.
        folder: The working directory.
        source: The program, or the notebook where its name is known.
        notebook: It is a notebook or an interactive session.
        variables: Environment variables that say how it runs, secrets masked.
        machine: Host, system, processors, memory.
        seeds: Seeds that can still be told, by library.
        code: The repository; None outside one.
        environment: Python and every installed distribution.
    """

    command: list[str]
    folder: str
    source: str
    notebook: bool
    variables: dict[str, str]
    machine: dict[str, Any]
    seeds: dict[str, str]
    code: Code | None
    environment: str

    def tags(self) -> dict[str, str]:
        """The tags that say so, those of MLflow's by their names."""
        tags = {
            "mlflow.source.name": self.source,
            "mlflow.source.type": "NOTEBOOK" if self.notebook else "LOCAL",
            "homeostat.command": " ".join(self.command)[:5000],
            "homeostat.host": str(self.machine["host"]),
            "homeostat.python": str(self.machine["python"]),
            "homeostat.environment": digest_of(self.environment),
        }
        tags |= {f"homeostat.seed.{library}": seed for library, seed in self.seeds.items()}
        if self.code is not None:
            tags |= {
                "mlflow.source.git.commit": self.code.commit,
                "mlflow.source.git.branch": self.code.branch,
                "mlflow.source.git.repoURL": self.code.remote,
                "homeostat.git.dirty": str(self.code.dirty).lower(),
            }
        return {name: value for name, value in tags.items() if value}

    def files(self) -> dict[str, bytes]:
        """The files that say so, by name."""
        told = msgspec.structs.replace(self, environment="")
        files = {
            "surroundings.json": msgspec.json.format(msgspec.json.encode(told), indent=2),
            "requirements.txt": self.environment.encode(),
        }
        if self.code is not None and self.code.difference:
            code = msgspec.structs.replace(self.code, difference="")
            told = msgspec.structs.replace(told, code=code)
            files["surroundings.json"] = msgspec.json.format(msgspec.json.encode(told), indent=2)
            files["uncommitted.diff"] = self.code.difference.encode()
        return files


def surroundings(redactor: Redactor, seeds: dict[str, str]) -> Surroundings:
    """Look around; takes a few tenths of a second."""
    shell = interactive_shell()
    program = Path(sys.argv[0]) if sys.argv and sys.argv[0] not in ("", "-c") else None
    folder = Path.cwd()
    beside = (
        program.resolve().parent if program is not None and shell is None and program.is_file() else folder
    )
    return Surroundings(
        command=redactor.arguments(sys.orig_argv),
        folder=str(folder),
        source=_notebook() if shell is not None else str(program or "python"),
        notebook=shell is not None,
        variables=redactor.variables(),
        machine=_machine(),
        seeds=seeds,
        code=code_of(beside, redactor),
        environment=lock(),
    )


def interactive_shell() -> Any | None:
    """IPython's shell when this runs in one."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def _notebook() -> str:
    named = next((os.environ[name] for name in _NOTEBOOKS if os.environ.get(name)), "")
    return Path(named).name if named else "notebook"


def _machine() -> dict[str, Any]:
    import psutil

    return {
        "host": platform.node(),
        "system": platform.platform(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "process": os.getpid(),
    }


def seeds() -> dict[str, str]:
    """Seeds that can be told, by what they seed: hashes, PyTorch, and NumPy as long as nothing was drawn."""
    found: dict[str, str] = {}
    if os.environ.get("PYTHONHASHSEED", "random") != "random":
        found["hash"] = os.environ["PYTHONHASHSEED"]
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "initial_seed"):
        found["torch"] = str(torch.initial_seed())
    random = sys.modules.get("numpy.random")
    if random is not None:
        _, key, position, *_ = random.get_state()
        # A generator that has a seed and was not used yet begins with it; one without begins with the top bit alone.
        if position == len(key) and int(key[0]) != 1 << 31:
            found["numpy"] = str(int(key[0]))
    return found
