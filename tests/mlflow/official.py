"""The official client of MLflow, in a process and an environment of its own, which the tests drive."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.environments import python_of

_QUIET = {
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MPLBACKEND": "Agg",
}


class Raised(AssertionError):
    """What was called in the client's process raised."""


class Evaluator:
    """A process in which the client is imported once.

    Args:
        folder: Where it stands, and may leave files.
    """

    def __init__(self, folder: Path) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PYTHON"))}
        self._process = subprocess.Popen(
            [str(python_of("mlflow", "torch")), str(Path(__file__).with_name("evaluator.py"))],
            cwd=folder,
            env=clean | _QUIET,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, uri: str, function: Callable[..., Any], *args: Any) -> Any:
        """What `function` gives there. It is sent as source: it sees its arguments, and what it imports itself."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        lines, first = inspect.getsourcelines(function)
        asked = {
            "uri": uri,
            "name": function.__name__,
            "source": textwrap.dedent("".join(lines)),
            "line": first - 1,
            "file": inspect.getsourcefile(function),
            "args": args,
        }
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"raised": "the client died"}')
        if "raised" in answer:
            raise Raised(answer["raised"])
        return answer["gave"]

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(100)


class Client:
    """The client, talking to one server. Called with a function and its arguments, it gives what that gives."""

    def __init__(self, evaluator: Evaluator, uri: str) -> None:
        self._evaluator, self.uri = evaluator, uri

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._evaluator.call(self.uri, function, *args)
