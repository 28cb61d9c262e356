"""``homeostat predict`` needs no more memory for a table four times as long, and answers it as any other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from tests.server.workers import ROOT

pytestmark = pytest.mark.slow

ROWS, WIDTH = 30_000, 3_000
# A process of its own between: what is started by a large one counts its memory as having had it.
MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak(folder: Path, table: pl.DataFrame) -> float:
    """The most memory in MB that it takes to answer a table, into ``out.parquet``."""
    table.write_parquet(folder / "rows.parquet", row_group_size=2_000)
    command = ["-m", "homeostat", "predict", "model.skops", "-i", "rows.parquet", "-o", "out.parquet"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "HOMEOSTAT_HOME": str(folder / "home")},
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout) / (1024 if sys.platform != "darwin" else 1 << 20)


def test_a_table_four_times_as_long_takes_no_more_memory(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(4 * ROWS, 2))
    model = LogisticRegression().fit(X[:100], X[:100, 0] > 0)
    skops.io.dump(model, tmp_path / "model.skops")
    note = pl.format("{}{}", pl.int_range(pl.len()), pl.lit("x" * WIDTH))
    table = pl.DataFrame(X, schema=["x0", "x1"]).with_columns(note=note)
    short = peak(tmp_path, table[:ROWS])
    long = peak(tmp_path, table)
    more = 3 * ROWS * WIDTH / (1 << 20)  # in MB, what the longer one has more
    assert long < short + 0.75 * more
    found = pl.read_parquet(tmp_path / "out.parquet", columns=["x0", "label", "probabilities"])
    assert found["x0"].to_list() == X[:, 0].tolist()
    assert found["label"].to_list() == model.predict(X).tolist()
    np.testing.assert_allclose(np.array(found["probabilities"].to_list()), model.predict_proba(X), atol=1e-12)
