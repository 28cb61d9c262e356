"""Energy, emissions and cost of a run, estimated by the real codecarbon; nothing asks the network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.app.tracking import history, run_data
from homeostat.domain.errors import HomeostatError
from homeostat.domain.records import Run
from homeostat.sdk.tracking.energy import Tariff
from homeostat.sdk.tracking.local import Local
from homeostat.sdk.tracking.sync import sync
from tests.server.ups import environment

PROGRAM = """
import socket, threading, time

asked = []
connect = socket.socket.connect

def guarded(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address != ("127.0.0.1", 9):
        asked.append(address)
    return connect(self, address)

socket.socket.connect = guarded
import homeostat as hs

def looking():  # at the machine: once done, it measures
    return any(thread.name == "homeostat-energy" for thread in threading.enumerate())

run = hs.run("energy", sample=0.1)
until = time.monotonic() + 300
for wanted in (True, False):
    while looking() is not wanted and time.monotonic() < until:
        time.sleep(0.01)
run.finish()
assert not asked, asked
"""


@pytest.mark.timeout(400)
def test_what_a_run_used(tmp_path: Path) -> None:
    home = tmp_path / "home"
    settings = {"SERVER": "http://127.0.0.1:9", "COUNTRY": "deu", "ENERGY_PRICE": "0.5 EUR"}
    variables = environment(home, **{f"HOMEOSTAT_{name}": text for name, text in settings.items()})
    variables["CODECARBON_ELECTRICITYMAPS_API_TOKEN"] = "one"  # a user's own configuration
    words = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(words, env=variables, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "codecarbon" not in done.stderr + done.stdout
    with Container(Settings(home=home)) as container:
        assert [one.problems for one in sync(home / "spool", Local(container))] == [[]]
        (run,) = container.store.find(Run)
        tags = run_data(container, [run.id])[run.id].tags
        energy, emissions, cost = (
            history(container, run.id, f"system/{name}").value
            for name in ("energy_kilowatt_hours", "emissions_kilograms", "energy_cost")
        )
    assert 0 < energy[-1] < 0.1
    assert cost[-1] == pytest.approx(energy[-1] / 2)
    assert 0.05 < emissions[-1] / energy[-1] < 1  # kg a kWh
    assert tags["homeostat.energy.country"] == "DEU"
    assert tags["homeostat.energy.price"] == "0.5 EUR"
    assert not list(tmp_path.glob("*.csv"))


def test_settings(tmp_path: Path) -> None:
    assert Tariff.of(Settings(home=tmp_path)) == Tariff()
    assert Tariff.of(Settings(home=tmp_path, country="fra", energy_price="0.2")) == Tariff("FRA", 0.2, "")
    for wrong in ({"country": "Germany"}, {"energy_price": "cheap"}, {"energy_price": "-1 EUR"}):
        with pytest.raises(HomeostatError):
            Settings(home=tmp_path, **wrong)
