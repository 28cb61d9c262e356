"""``homeostat monitor report`` says what it lacks; what it writes is shown with the loop in tests/app."""

from __future__ import annotations

from pathlib import Path

from tests.cli.invoking import Shell


def test_a_model_that_was_never_asked_has_no_report(homeostat: Shell, tmp_path: Path) -> None:
    homeostat("init", "shop")
    homeostat.cd(tmp_path / "shop")
    homeostat("apply")
    (model,) = (one["ref"] for one in homeostat("plan", "--json").json if one["ref"].startswith("model/"))
    said = homeostat("monitor", "report", model, status=1).err
    assert "has no champion" in said
    assert "name a version" in said.lower()
    said = homeostat("monitor", "report", f"{model}@one", status=1).err
    assert "names no version" in said
    said = homeostat("monitor", "report", model, "--from", "yesterday", status=1).err
    assert "'yesterday' is no time" in said
    said = homeostat("monitor", "report", model, "--from", "2024-02-01", "--to", "2024-01-01", status=1).err
    assert "Let --from be before --to" in said
    assert not list(tmp_path.rglob("*-report.html"))
