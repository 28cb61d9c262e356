"""A wrong project file: file, line, declaration and remedy, exit status 2, and no traceback."""

from __future__ import annotations

import pytest

from tests.cli.invoking import Shell

GOOD = 'import homeostat as hs\n\nrows = hs.Dataset("rows", key="id")\n'


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        (GOOD + 'more = hs.Dataset("more", key=3)\n', 4, ["Dataset('more')", 'Write it like key="flight"']),
        (GOOD + "more = hs.Datasett()\n", 4, ["AttributeError"]),
        (GOOD + "more = (\n", 4, ["is not valid Python"]),
        (GOOD + "import nowhere\n", 4, ["ModuleNotFoundError"]),
        (
            GOOD + 'm = hs.Model("m", task=hs.Binary(label="y", source=rows))\n',
            4,
            ["Model('m')", "Give train="],
        ),
    ],
)
@pytest.mark.parametrize("command", ["plan", "apply"])
def test_errors_in_projects(homeostat: Shell, command: str, text: str, line: int, told: list[str]) -> None:
    (homeostat.folder / "project.py").write_text(text)
    outcome = homeostat(command, status=2)
    assert f"project.py:{line}: " in outcome.err
    for part in told:
        assert part in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""


def test_a_command_that_is_none(homeostat: Shell) -> None:
    assert "No such command" in homeostat("trian", status=2).err
    assert "No such option" in homeostat("status", "--jsn", status=2).err
