"""``run``: executing a pipeline of the applied project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from homeostat.cli.flags import command
from homeostat.cli.models import pair, told, value
from homeostat.cli.output import Json, number, print_json, print_table, progress
from homeostat.cli.session import Session
from homeostat.domain.errors import HomeostatError

if TYPE_CHECKING:
    from homeostat.domain.records import StepExecution


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "run", settings=("home",))(run)


def run(
    session: Session,
    pipeline: Annotated[str, typer.Argument(help="Its name.", show_default=False)],
    param: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An argument of the pipeline.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a pipeline; steps whose code and inputs have not changed give their kept results."""
    params = {name: value(text) for name, text in map(pair, param or [])}
    name = pipeline.removeprefix("pipeline/")
    with session.container() as container, progress(f"Running pipeline/{name}") as tell:
        from homeostat.app.pipelines import run_pipeline

        def follow(step: StepExecution, at: int, total: int) -> None:
            tell(f"step {at} of {total}: {step.step} is {step.state}")

        try:
            executions = run_pipeline(container, name, params, progress=follow).executions
        except HomeostatError:
            raise
        except Exception as error:  # whatever a step of the project raises
            raise HomeostatError(
                f"pipeline/{name} failed:\n{told(error)}", remedy="Correct it, apply, and run it again"
            ) from error
    if as_json:
        print_json(executions)
        return
    rows = [[step.step, step.state, number(step.seconds), step.output[:19]] for step in executions]
    print_table(["step", "state", "seconds", "result"], rows, title=f"pipeline/{name}")
