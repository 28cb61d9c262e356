"""``train``, ``promote`` and ``rollback``: acting on models by hand."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, number, print_json, print_table, progress
from homeostat.cli.people import Actor, Reason
from homeostat.cli.session import Session
from homeostat.domain.errors import BadRequest, HomeostatError, NotFound
from homeostat.domain.records import GateResult, ModelVersion, Run
from homeostat.domain.refs import number_of

if TYPE_CHECKING:
    from homeostat.cli.direct import Direct
    from homeostat.sdk.client import Client

REJECTED: Final = 3
_POLL: Final = 0.5


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "train", settings=("home", "server"))(train)
    command(app, "promote", settings=("home", "server"))(promote)
    command(app, "rollback", settings=("home", "server"))(rollback)


def train(
    session: Session,
    model: Annotated[
        str, typer.Argument(help="Its name; not needed where there is one.", show_default=False)
    ] = "",
    reason: Reason = "asked for",
    param: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter of the training function.")
    ] = None,
    using: Annotated[
        str, typer.Option(metavar="MODULE:FUNCTION", help="Train with this function of the project instead.")
    ] = "",
    tag: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A mark to keep with it.")
    ] = None,
    actor: Actor = "",
    wait: Annotated[bool, typer.Option(help="Follow a training that a server runs to its end.")] = True,
    as_json: Json = False,
) -> None:
    """Train a model, let its gates judge it, and roll it out. Exit status 3: the gates rejected it."""
    asked = {
        "reason": reason,
        "actor": actor,
        "using": using,
        "params": {name: value(text) for name, text in map(pair, param or [])},
        "tags": dict(map(pair, tag or [])),
    }
    with session.homeostat() as homeostat:
        name = _model(homeostat, model)
        run, waited = _train(homeostat, name, asked, wait)
        version = _version_of(homeostat, run) if waited else None
        gates = homeostat.gates(name, version.version) if version else []
    if as_json:
        print_json({"run": run, "version": version, "gates": gates})
    elif not waited:
        typer.echo(f"Queued run/{run.id}; follow it with homeostat status")
    else:
        _show(run, version, gates)
    if waited and version is None:
        raise typer.Exit(1)
    if version is not None and version.stage == "rejected":
        raise typer.Exit(REJECTED)


def promote(
    session: Session,
    model: Annotated[str, typer.Argument(help="Its name, or name@version.", show_default=False)],
    version: Annotated[int, typer.Argument(help="The version's number.", show_default=False)] = 0,
    reason: Reason = "asked for",
    actor: Actor = "",
) -> None:
    """Make a version that passed its gates the champion now, whatever a running canary has found so far."""
    name, _, at = model.removeprefix("model/").partition("@")
    number = version or number_of(at) or 0
    if not number:
        raise BadRequest(f"promote {model} names no version", remedy=f"Write homeostat promote {name}@3")
    with session.homeostat() as homeostat:
        homeostat.promote(name, number, reason=reason, actor=actor)
    typer.echo(f"model/{name}@{number} is the champion of deployment/{name}.")


def rollback(
    session: Session,
    deployment: Annotated[str, typer.Argument(help="Its name.", show_default=False)],
    reason: Reason = "asked for",
    actor: Actor = "",
) -> None:
    """End a running canary; without one, go back to the champion before this one."""
    name = deployment.removeprefix("deployment/")
    with session.homeostat() as homeostat:
        changed = homeostat.rollback(name, reason=reason, actor=actor)
    serving = ", ".join(f"@{arm.version}" for arm in changed.arms)
    typer.echo(f"deployment/{name} serves {serving}.")


def _model(homeostat: Client | Direct, given: str) -> str:
    """The model that is meant: the one named, or the only one."""
    if given:
        return given.removeprefix("model/")
    names = sorted({deployment["model"] for deployment in homeostat.status()["deployments"]})
    if not names:
        raise NotFound("no model is applied yet", remedy="Run homeostat apply in the project's folder")
    if len(names) > 1:
        raise BadRequest("there is more than one model", remedy=f"Name one of {', '.join(names)}")
    return str(names[0])


def _train(
    homeostat: Client | Direct,
    model: str,
    asked: dict[str, Any],
    wait: bool,
) -> tuple[Run, bool]:
    """The run and whether it was followed to its end."""
    from homeostat.sdk.client import Client

    with progress(f"Training {model}") as tell:
        if isinstance(homeostat, Client):
            run = homeostat.train(model, **asked)
            return (_follow(homeostat, run, tell), True) if wait else (run, False)
        try:
            run = homeostat.train(model, **asked, progress=tell)
        except HomeostatError:
            raise
        except Exception as error:  # whatever the project's training function raises
            raise HomeostatError(
                f"training {model} failed:\n{told(error)}", remedy="Correct it, and apply"
            ) from error
        return run, True


def told(error: Exception) -> str:
    """The traceback as its author knows it: from the project's own lines on."""
    import homeostat

    here = Path(homeostat.__file__).parent
    frames = traceback.extract_tb(error.__traceback__)
    inner = [i for i, frame in enumerate(frames) if Path(frame.filename).is_relative_to(here)]
    # Without any such line the fault is ours, and all of it is shown.
    shown = traceback.StackSummary.from_list((frames[inner[-1] + 1 :] if inner else []) or frames)
    return "".join([*shown.format(), *traceback.format_exception_only(error)]).rstrip()


def _follow(client: Client, run: Run, tell: Any) -> Run:
    """Wait until a run, or the next attempt at it, and the judging of its version are over."""
    from homeostat.adapters.clock import SystemClock

    clock, state = SystemClock(), ""
    while True:
        run = client.run(run.id)
        if run.state != state:
            state = run.state
            tell(f"run/{run.id} is {state}" + (_held(client) if state == "queued" else ""))
        if run.state in ("failed", "cancelled"):
            failures = client.events(subject=f"run/{run.id}", kinds=["run.failed"], limit=1)
            again = failures[0].body.get("again") if failures else None
            if again is None:
                return run
            tell(f"run/{run.id} failed: {run.error}; run/{again} is the next attempt")
            run, state = client.run(again), ""
        if run.state == "succeeded":
            version = _version_of(client, run)
            if version is not None and version.stage != "candidate":
                return run
        clock.sleep(_POLL)


def _held(client: Client) -> str:
    """Why a run that is queued does not begin by itself, where it does not."""
    if space := client.status().get("space"):
        return f"; it waits for space: {space}"
    if client.health()["clock"] == "simulated":
        return f"; the clock is simulated, so it begins at the next POST {client.server}/tick of whoever drives it"
    return ""


def _version_of(homeostat: Client | Direct, run: Run) -> ModelVersion | None:
    return next((v for v in homeostat.versions(run.model) if v.run == run.id), None)


def _show(run: Run, version: ModelVersion | None, gates: list[GateResult]) -> None:
    if version is None:
        raise HomeostatError(f"run/{run.id} {run.state}: {run.error}", remedy="Correct it, and train again")
    if gates:
        rows = [
            ["passed" if g.passed else "failed", g.gate, number(g.value), number(g.threshold), g.reason]
            for g in gates
        ]
        print_table(["", "gate", "value", "threshold", "because"], rows, title="Gates")
    took = f" in {run.seconds:.1f} s" if run.seconds is not None else ""
    typer.echo(f"Trained model/{version.model}@{version.version} on {run.rows:,} rows{took} (run/{run.id}).")
    measured = ", ".join(f"{name} {number(value)}" for name, value in sorted(run.metrics.items()))
    typer.echo(f"Measured: {measured}")
    typer.echo(f"It is {version.stage}" + (f": {version.stage_reason}" if version.stage_reason else "") + ".")


def pair(text: str) -> tuple[str, str]:
    """The name and the value of ``NAME=VALUE``.

    Raises:
        BadRequest: it has another form.
    """
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise BadRequest(f"{text!r} is no pair", remedy="Write NAME=VALUE")
    return name, value


def value(text: str) -> Any:
    """A parameter's value: JSON where it is, else the text."""
    import msgspec

    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
