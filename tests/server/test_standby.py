"""The process that waits to become a worker: what it is told it becomes, and told nothing it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.server.workers import ROOT


def standby(said: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "homeostat.server.standby", "--parent", str(os.getpid())],
        input=said,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{path}"},
        timeout=100,
        check=False,
    )


def test_it_becomes_what_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "worker_of_test.py").write_text(
        "import os, sys\nif __name__ == '__main__':\n    print(sys.argv[1:], os.environ['NAME'])\n    sys.exit(3)\n"
    )
    order = {"module": "worker_of_test", "arguments": ["--worker", "w1"], "environment": {"NAME": "one"}}
    done = standby(json.dumps(order) + "\n", tmp_path)
    assert (done.returncode, done.stdout) == (3, "['--worker', 'w1'] one\n"), done.stderr


def test_told_nothing_it_ends(tmp_path: Path) -> None:
    done = standby("", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
