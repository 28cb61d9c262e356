"""Figures of matplotlib and plotly, images of Pillow, and cells of a notebook, in an environment that has these."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from homeostat.app import artifacts
from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.app.tracking import run_data
from homeostat.domain.records import Run
from homeostat.domain.tracking import ArtifactFile
from homeostat.sdk.tracking.local import Local
from homeostat.sdk.tracking.sync import sync
from tests.environments import python_of
from tests.server.ups import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the first test may have to make the environment

FIGURES = """
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
from PIL import Image

import homeostat as hs

figure, axes = plt.subplots()
axes.plot([1, 2, 3])
drawn = go.Figure(go.Scatter(x=[1, 2], y=[3, 4]))
pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
with hs.run("figures", sample=0) as run:
    hs.log(matplotlib=figure, plotly=drawn, pillow=Image.fromarray(pixels), step=3)
    hs.log(array=hs.Image(pixels), grey=hs.Image(Image.fromarray(pixels[:, :, 0]).convert("L")))
"""
NOTEBOOK = """
import homeostat as hs
api_key = "hunter2-correct-horse"
run = hs.run("notebook", sample=0)
hs.log(loss=0.5)
run.finish()
"""


def tracked(folder: Path, *command: str | Path) -> tuple[Run, dict[str, str], dict[str, bytes]]:
    """The one run that a command tracks without a server, with its tags and its files."""
    home = folder / "home"
    settings = environment(
        home, HOMEOSTAT_SERVER="http://127.0.0.1:9", MPLBACKEND="Agg", IPYTHONDIR=str(folder)
    )
    words = [str(python_of("figures")), *map(str, command)]
    done = subprocess.run(words, env=settings, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with Container(Settings(home=home)) as container:
        assert [one.problems for one in sync(home / "spool", Local(container))] == [[]]
        (run,) = container.store.find(Run)
        files = {
            file.path: b"".join(artifacts.content(container, file))
            for file in container.store.find(ArtifactFile)
        }
        return run, run_data(container, [run.id])[run.id].tags, files


def test_figures_and_images(tmp_path: Path) -> None:
    (tmp_path / "draw.py").write_text(FIGURES)
    _, _, files = tracked(tmp_path, "draw.py")
    told = {
        one["key"]: one
        for path, content in files.items()
        if path.startswith("values/") and path.count(".") == 1 and path.endswith(".json")
        for one in [msgspec.json.decode(content)]
    }
    assert {key: one["type"] for key, one in told.items()} == {
        "matplotlib": "image",
        "plotly": "plotly",
        "pillow": "image",
        "array": "image",
        "grey": "image",
    }
    for key, one in told.items():
        content = files[one["file"]]
        if key == "plotly":
            assert msgspec.json.decode(content)["data"][0]["y"]
        else:
            assert content.startswith(b"\x89PNG")
    assert files[told["pillow"]["file"]] == files[told["array"]["file"]]
    assert (told["grey"]["width"], told["grey"]["height"]) == (4, 2)
    (tmp_path / "array.png").write_bytes(files[told["array"]["file"]])
    check = (
        "from PIL import Image; import numpy as np\n"
        "assert (np.asarray(Image.open('array.png')) == np.arange(24).reshape(2, 4, 3)).all()"
    )
    subprocess.run([str(python_of("figures")), "-c", check], cwd=tmp_path, check=True)


def test_a_cell_that_awaits_begins_and_finds_runs_as_any_other(tmp_path: Path) -> None:
    cells = [
        "import asyncio, homeostat as hs",
        "await asyncio.sleep(0); first = hs.run('exp', capture=False)",
        "hs.log(loss=0.5)",
        "await asyncio.sleep(0); second = hs.run('exp', capture=False)",
        "hs.log(loss=0.25)",
        "assert (first.state, second.state) == ('succeeded', None)",
        "second.finish()",
    ]
    (tmp_path / "shell.py").write_text(
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        f"for cell in {cells!r}:\n"
        "    shell.run_cell(cell, store_history=True).raise_error()\n"
    )
    settings = environment(tmp_path / "home", HOMEOSTAT_SERVER="http://127.0.0.1:9", IPYTHONDIR=str(tmp_path))
    words = [str(python_of("figures")), "shell.py"]
    done = subprocess.run(words, env=settings, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_notebook(tmp_path: Path) -> None:
    cells = [line for line in NOTEBOOK.splitlines() if line]
    (tmp_path / "shell.py").write_text(
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        f"for cell in {cells!r}:\n"
        "    shell.run_cell(cell, store_history=True).raise_error()\n"
    )
    run, tags, files = tracked(tmp_path, "shell.py")
    assert run.state == "succeeded"
    assert tags["mlflow.source.type"] == "NOTEBOOK"
    captured = {path.rpartition("/")[2]: content.decode() for path, content in files.items()}
    assert captured["cells.py"].startswith("# [1]\nimport homeostat as hs\n\n# [2]\napi_key = ")
    assert '# [3]\nrun = hs.run("notebook", sample=0)' in captured["cells.py"]
    assert captured["cells.py"].endswith("run.finish()")
    assert "hunter2" not in "".join(captured.values())


def test_no_library_of_dataframes_is_needed_to_track(tmp_path: Path) -> None:
    program = (
        "import sys, homeostat as hs\n"
        "with hs.run('plain', sample=0) as run: hs.log(loss=1.0)\n"
        "assert not {'polars', 'pandas', 'sklearn', 'sqlalchemy'} & sys.modules.keys()\n"
    )
    (tmp_path / "plain.py").write_text(program)
    run, _, _ = tracked(tmp_path, "plain.py")
    assert run.state == "succeeded"
