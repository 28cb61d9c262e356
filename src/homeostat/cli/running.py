"""``up``, ``serve``, ``down``, ``status`` and ``doctor``: what runs, and whether it can."""

from __future__ import annotations

import signal
from typing import Annotated, Any, Final

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, moment, number, print_json, print_table
from homeostat.cli.session import Session
from homeostat.domain.errors import Conflict

_PATIENCE: Final = 40.0
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_SHOWN: Final = 5


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "up", settings=("home", "host", "port", "serve_port", "grpc_port", "workers", "clock"))(up)
    command(app, "serve", settings=("home", "host", "port", "grpc_port", "workers"))(serve)
    command(app, "down")(down)
    command(app, "status", settings=("home", "server"))(status)
    command(app, "doctor", settings=("home", "store", "blobs", "tables", "online", "executor"))(doctor)


def up(session: Session) -> None:
    """Run Homeostat here until ctrl-C: the controller, its API, and the servers that predict."""
    from homeostat.adapters.clock import SystemClock
    from homeostat.server.supervisor import Supervisor

    settings = session.settings
    if settings.host not in _LOOPBACK:
        typer.echo(
            f"warning: whoever reaches {settings.host} can train, promote and read data; nobody is asked who they are",
            err=True,
        )
    status = Supervisor(settings, SystemClock(), lambda text: typer.echo(text)).run()
    raise typer.Exit(status)


def serve(
    session: Session,
    model: Annotated[
        str,
        typer.Argument(
            help="A file of skops, joblib, ONNX, XGBoost, LightGBM or safetensors; a folder of MLflow; a class, as "
            "in churn.py:Churn; or a version in the registry, as in model/churn@champion."
        ),
    ],
    name: Annotated[
        str,
        typer.Option(help="What it is called in the paths of requests.", show_default="as the file or model"),
    ] = "",
    trust: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A type that may be in the file beyond the known-safe, as module.Class; of a pickle also a function, "
            "or the digest of one that may name any.",
        ),
    ] = None,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle",
            help="Read a pickle of known-safe types, or an MLflow pyfunc, which runs its code.",
        ),
    ] = False,
) -> None:
    """Serve one model until ctrl-C, with nothing declared and nothing else running."""
    import dataclasses

    from homeostat.adapters.clock import SystemClock
    from homeostat.app.standalone import Asked, name_of
    from homeostat.server.standalone import Standalone

    settings = session.settings
    if session.given("port"):
        settings = dataclasses.replace(settings, serve_port=settings.port)
    asked = Asked(model, name_of(model, name), tuple(trust or ()), allow_pickle)
    raise typer.Exit(Standalone(asked, settings, SystemClock(), lambda text: typer.echo(text)).run())


def down(session: Session) -> None:
    """Stop what homeostat up started for this home."""
    from homeostat.app.running import running

    home = session.settings.home
    up = running(home)
    found = up.supervisor.find() if up else None
    if up is None or found is None:
        typer.echo(f"Nothing runs for {home}.")
        return
    from psutil import TimeoutExpired

    found.send_signal(signal.SIGTERM)
    try:
        found.wait(_PATIENCE)
    except TimeoutExpired:
        raise Conflict(
            f"process {up.supervisor.pid} has not ended after {_PATIENCE:.0f} s",
            remedy=f"Look at what it does, or: kill -9 {up.supervisor.pid} (what it started ends by itself)",
        ) from None
    typer.echo(f"Stopped {up.server} (process {up.supervisor.pid}).")


def status(session: Session, as_json: Json = False) -> None:
    """Show what is declared, what serves, and what runs where."""
    with session.homeostat() as homeostat:
        found = homeostat.status()
    if as_json:
        print_json(found)
        return
    if found.get("space"):
        typer.echo(f"Little space: {found['space']}. Trainings wait; free some, or run homeostat gc.")
    if not found["projects"]:
        typer.echo(
            f"No project is applied to {session.settings.home} yet. Begin with: homeostat init, homeostat apply"
        )
        return
    for one in found["frozen"]:
        typer.echo(f"Frozen: {one['why']}. Go on with homeostat unfreeze {one['model']}".rstrip() + ".")
    _show_models(found)
    _show_business(found)
    _show_data(found)
    _show_processes(found, session.server)


def doctor(session: Session, as_json: Json = False) -> None:
    """Try every setting for real, and say what to do about what fails."""
    from homeostat.app.doctor import diagnose

    checks = diagnose(session.settings)
    if as_json:
        print_json(checks)
    else:
        rows = [["ok" if c.ok else "failed", c.name, c.detail, f"{c.seconds * 1000:.0f} ms"] for c in checks]
        print_table(["", "check", "found", "took"], rows)
        for check in checks:
            if not check.ok:
                typer.echo(f"{check.name}: {check.remedy or 'see above'}")
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def _show_models(found: dict[str, Any]) -> None:
    rows = []
    for deployment in found["deployments"]:
        arms = [f"@{arm['version']} {arm['role']} {arm['weight']:.0%}" for arm in deployment["arms"]]
        rows.append([deployment["name"], ", ".join(arms) or "no version yet", deployment["generation"]])
    if rows:
        print_table(["deployment", "serves", "generation"], rows, title="Deployments")
    tried = found.get("tried", [])
    rows = [
        [
            one["kind"],
            " ".join(f"@{version}" for version in one["versions"]),
            e["what"],
            number(e["observed"]),
            e["count"],
            number(e["peak"]),
            number(e["threshold"]),
        ]
        for one in tried
        for e in one["evidence"]
    ]
    if rows:
        columns = ["trying out", "versions", "watched", "observed", "count", "e-value", "decides at"]
        print_table(columns, rows, title="Rollouts")
    versions = sorted(found["versions"], key=lambda v: (v["model"], -v["version"]))
    seen: dict[str, int] = {}
    rows = []
    for version in versions:
        seen[version["model"]] = seen.get(version["model"], 0) + 1
        if seen[version["model"]] <= _SHOWN or version["stage"] in ("champion", "canary"):
            rows.append([f"{version['model']}@{version['version']}", version["stage"], version["reason"]])
    if rows:
        print_table(["version", "stage", "because"], rows, title="Model versions")
    rows = [
        [f"run/{r['id']}", r["model"], r["state"], r["error"] or r["reason"]] for r in found["runs"][:_SHOWN]
    ]
    if rows:
        print_table(["run", "model", "state", "because"], rows, title="Newest runs")


def _show_business(found: dict[str, Any]) -> None:
    rows = [
        [
            f"{one['model']}@{by['version']} {by['arm']}",
            one["metric"],
            number(by["mean"]),
            "" if by["low"] is None else f"{by['low']:.4g} to {by['high']:.4g}",
            number(by["total"]),
            f"{by['valued']:,} of {by['requests']:,} in {one['window']}",
        ]
        for one in found.get("business", [])
        for by in one["versions"]
    ]
    if rows:
        columns = ["version", "metric", "a request", "95% interval", "in all", "requests with a value"]
        print_table(columns, rows, title="Business metrics")


def _show_data(found: dict[str, Any]) -> None:
    rows = [
        [d["name"], d["rows"], f"@{d['version']}" if d["version"] else "none yet", d["position"]]
        for d in found["datasets"]
    ]
    if rows:
        print_table(["dataset", "rows", "version", "batches"], rows, title="Datasets")
    rows = [[moment(a["opened_at"]), a["severity"], a["subject"], a["summary"]] for a in found["alerts"]]
    if rows:
        print_table(["since", "severity", "subject", "what"], rows, title="Open alerts")


def _show_processes(found: dict[str, Any], server: str) -> None:
    rows = [
        [p["role"], p["subject"], p["host"], str(p["pid"]), "running" if p["alive"] else "dead"]
        for p in found["processes"]
    ]
    if rows:
        print_table(["process", "for", "host", "pid", ""], rows, title="Processes")
    for process in found["processes"]:
        for deployment, why in process.get("errors", {}).items():
            typer.echo(f"{process['subject']} cannot serve deployment/{deployment} as declared: {why}")
        log = process.get("log", {})
        if log.get("dropped") or log.get("error"):
            why = f": {log['error']}" if log.get("error") else ""
            typer.echo(
                f"{process['subject']} dropped {log['dropped']:,} predictions that its log had no room for, "
                f"and holds {log['buffered']:,}{why}"
            )
    serving = found["serving"]
    if serving["rows"]:
        busy, cost = serving["busy"], serving["cost_per_1000"]
        costs = "" if cost is None else f", at {cost:.3g} {serving['currency']}".rstrip() + " per 1,000"
        typer.echo(f"Over a day: {serving['rows']:,} predictions{costs}; model servers were {busy:.1%} busy.")
    where = f"Server: {server}" if server else "No server runs here; start it with homeostat up"
    ledger = f"{found['ledger']['events']:,} events in the ledger"
    typer.echo(f"{where}. {ledger}. Clock: {moment(found['now'])} UTC.")
