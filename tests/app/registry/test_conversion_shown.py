"""Whether an ONNX graph serves in a model's place, and why, is told with the version."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.cli.program import app
from tests.app.churning import declare, trained


def test_the_verdict_of_a_conversion_is_shown(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Container(Settings(home=home)) as container:
        declare(container, tmp_path / "project", "onnx=1e-6,")
        assert trained(container).version == 1
        declare(container, tmp_path / "project")
        assert trained(container, C=0.5).version == 2
    runner = CliRunner()
    told = runner.invoke(
        app, ["models", "show", "churn@1", "--home", str(home)], catch_exceptions=False
    ).stdout
    assert "as ONNX" in told
    assert "the ONNX graph serves: every label agrees on 480 rows" in told
    assert "as ONNX" not in runner.invoke(app, ["models", "show", "churn@2", "--home", str(home)]).stdout
