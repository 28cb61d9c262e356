"""`homeostat init`: project files over any CSV, that run as they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from homeostat.app.projects import load_project
from tests.cli.invoking import Shell


def csv(folder: Path, rows: int = 300) -> Path:
    lines = ["Row ID,when,seen,name,colour,size,Is Late"]
    for n in range(rows):
        late = str(n % 3 == 0).lower()
        size = "" if n % 10 == 0 else str(n % 17)
        colour = "" if n % 11 == 0 else ["red", "green"][n % 2]
        lines.append(f"{n},2013-01-{n % 28 + 1:02} 10:00:00,2013-02-01,name {n},{colour},{size},{late}")
    file = folder / "my rows.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_a_csv_of_every_kind_of_column(homeostat: Shell) -> None:
    file = csv(homeostat.folder)
    said = homeostat("init", "late", "--csv", file, "--label", "Is Late", "--key", "Row ID").out
    assert "cd late && homeostat apply" in said
    text = (homeostat.folder / "late" / "project.py").read_text()
    assert 'path="../my rows.csv"' in text
    assert max(map(len, text.splitlines())) <= 110
    declared = load_project(homeostat.folder / "late")
    assert declared.datasets["my-rows"].time == "when"
    homeostat.cd(homeostat.folder / "late")
    homeostat("apply")
    model = homeostat("train", "--param", "trees=5", "--json", status=_any(homeostat)).json
    assert model["run"]["state"] == "succeeded"


def _any(homeostat: Shell) -> int:
    """Random labels cannot be learnt, so the gates reject what was trained on them."""
    return 3


def test_numbers_only_need_no_encoding(homeostat: Shell) -> None:
    Path("rows.csv").write_text("id,x,y\n" + "".join(f"{n},{n % 9},{n % 2}\n" for n in range(100)))
    homeostat("init", ".", "--csv", "rows.csv", "--label", "y", "--key", "id")
    text = Path("project.py").read_text()
    assert "OneHotEncoder" not in text
    assert 'path="rows.csv"' in text
    assert load_project(Path()).models["y"].task.label == "y"


def test_nothing_is_written_over(homeostat: Shell) -> None:
    homeostat("init")
    before = Path("project.py").read_text()
    assert "is there already" in homeostat("init", status=1).err
    assert Path("project.py").read_text() == before


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--label", "y"], "--csv FILE"),
        (["--csv", "none.csv"], "there is no file"),
        (["--csv", "rows.csv"], "Give --label, one of id, x, y, z, one"),
        (["--csv", "rows.csv", "--label", "y"], "Give --key"),
        (["--csv", "rows.csv", "--label", "q", "--key", "id"], "no column 'q'"),
        (["--csv", "rows.csv", "--label", "z", "--key", "id"], "Write it as 0 and 1"),
        (["--csv", "rows.csv", "--label", "one", "--key", "id"], "always the same"),
        (["--csv", "rows.csv", "--label", "y", "--key", "x"], "does not identify a row"),
    ],
)
def test_what_is_missing_is_asked_for(homeostat: Shell, flags: list[str], told: str) -> None:
    Path("rows.csv").write_text("id,x,y,z,one\n1,5,0,no,1\n2,5,1,yes,1\n")
    assert told in homeostat("init", "new", *flags, status=1).err
    assert not Path("new").exists()
