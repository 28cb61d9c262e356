"""What a run is reproduced from, and what a training function is given."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import homeostat as hs
from homeostat.domain.errors import BadRequest
from homeostat.engine.tracking.capture import capture, seed
from homeostat.engine.tracking.environment import lock


def test_the_lock_names_python_and_every_distribution_once_in_order() -> None:
    lines = lock().splitlines()
    assert lines[0].startswith("# python 3.")
    names = [line.split("==")[0] for line in lines if not line.startswith("#")]
    assert names == sorted(set(names))
    assert f"numpy=={np.__version__}" in lines
    assert lock() == lock()


def test_what_is_installed_meanwhile_is_in_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    assert "fresh==1.2" not in lock().splitlines()
    (tmp_path / "fresh-1.2.dist-info").mkdir()
    (tmp_path / "fresh-1.2.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: Fresh\nVersion: 1.2\n"
    )
    assert "fresh==1.2" in lock().splitlines()


def test_the_commit_is_captured_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    assert capture(tmp_path).commit == ""

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q")
    assert capture(tmp_path).commit == ""
    (tmp_path / "project.py").write_text("x = 1\n")
    git("add", ".")
    git("commit", "-qm", "first")
    found = capture(tmp_path)
    assert found.commit == git("rev-parse", "HEAD")
    assert not found.dirty
    (tmp_path / "project.py").write_text("x = 2\n")
    assert capture(tmp_path).dirty


def test_a_seed_repeats_what_python_and_numpy_draw() -> None:
    state = random.getstate(), np.random.get_state()
    try:
        draws = []
        for _ in range(2):
            seed(2**40 + 1)
            draws.append((random.random(), float(np.random.random())))
        assert draws[0] == draws[1]
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])


def test_a_training_set_holds_rows_labels_and_what_was_logged() -> None:
    data = hs.TrainingSet(pl.DataFrame({"a": [1.0, 2.0]}), np.array([True, False]), params={"rate": 0.1})
    assert data.y.dtype == np.int8
    assert data.columns == ["a"]
    assert len(data) == 2
    data.log("loss", 0.5)
    assert data.metrics == {"loss": 0.5}
    with pytest.raises(BadRequest, match="'loss' is nan"):
        data.log("loss", float("nan"))
    with pytest.raises(BadRequest, match="labels of shape"):
        hs.TrainingSet(pl.DataFrame({"a": [1.0]}), np.array([1, 0]))
