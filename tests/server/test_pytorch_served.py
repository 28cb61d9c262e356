"""Models of PyTorch are served as their tensors, and as a plain class that reads them, with the answers they gave.

PyTorch is in an environment of its own; what is served here finds it behind everything that Homeostat brings.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.environments import python_of
from tests.server.test_standalone_process import Served
from tests.server.workers import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the environment may have to be made

NETS = """
import sys

sys.path.append({packages!r})

import torch


class Net(torch.nn.Module):
    n_features_in_ = 3

    def __init__(self, width=5):
        super().__init__()
        self.width = width
        self.net = torch.nn.Sequential(
            torch.nn.Linear(3, width), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(width, 1)
        )

    def get_params(self):
        return {{"width": self.width}}

    def forward(self, X):
        return torch.sigmoid(self.net(X))[:, 0]

    @torch.no_grad()
    def predict_proba(self, X):
        return self(torch.tensor(X, dtype=torch.float32)).numpy()


class Kept:
    n_features_in_ = 3

    def __init__(self):
        self.net = Net(7)
        self.net.load_state_dict(torch.load("net.pt", weights_only=True))
        self.net.eval()

    def predict(self, X):
        return self.net.predict_proba(X)
"""

SAVE = """
import json
from pathlib import Path

import numpy as np
from nets import Net, torch

from homeostat.engine.registry import formats

torch.manual_seed(3)
net = Net(7).eval()
torch.save(net.state_dict(), "net.pt")
for name, data in formats.dump(net, ["nets.Net"]).items():
    Path(name).write_bytes(data)
print(json.dumps(net.predict_proba(np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]])).tolist()))
"""
ROWS = {"instances": [[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]]}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder with a net, saved in both ways, and what it answers."""
    folder = tmp_path_factory.mktemp("nets")
    (packages,) = python_of("mlflow", "torch").parents[1].glob("lib/python*/site-packages")
    (folder / "nets.py").write_text(NETS.format(packages=str(packages)))
    done = subprocess.run(
        [sys.executable, "-c", SAVE],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{folder}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout)


@pytest.mark.parametrize(
    "arguments", [("model.safetensors", "--trust", "nets.Net"), ("nets.py:Kept", "--name", "model")]
)
def test_a_net_answers_as_it_did(saved: tuple[Path, Any], arguments: tuple[str, ...]) -> None:
    folder, wanted = saved
    running = Served(folder, *arguments, "--port", "0")
    try:
        answer = httpx.post(f"{running.ready()}/v1/models/model:predict", json=ROWS, timeout=60)
        assert answer.json()["predictions"] == pytest.approx(wanted, abs=1e-6)
    finally:
        assert running.stop() == 0
