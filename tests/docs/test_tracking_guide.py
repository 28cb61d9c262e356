"""The code of docs/tracking.md runs as it stands there, without a server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.server.ups import environment

GUIDE = Path(__file__).parents[2] / "docs" / "tracking.md"


def test_the_guide(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text("utf-8"), re.M | re.S)
    assert len(blocks) >= 5
    (tmp_path / "guide.py").write_text("\n".join(blocks))
    settings = environment(tmp_path / "home", HOMEOSTAT_SERVER="http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "guide.py"], env=settings, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "has the least loss, 0.29, of 1 run." in done.stdout
