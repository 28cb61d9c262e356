"""``why``, ``lineage`` and ``ledger``: reasons, origins, and what happened."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import typer

from homeostat.cli import rollouts
from homeostat.cli.flags import command
from homeostat.cli.output import Json, console, moment, number, print_json, print_table
from homeostat.cli.session import Session

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "why", settings=("home", "server"))(why)
    command(app, "lineage", settings=("home", "server"))(lineage)
    ledger = typer.Typer(
        help="Read the ledger: every change of state, chained by hash.", no_args_is_help=True
    )
    command(ledger, "verify", settings=("home", "server"))(verify)
    command(ledger, "ls", settings=("home", "server"))(ls)
    app.add_typer(ledger, name="ledger")


def why(
    session: Session,
    ref: Annotated[
        str,
        typer.Argument(
            help="A model, for its retraining rules; deployment/NAME, for what was tried out on it; "
            "model/NAME@VERSION or run/ID, for what was done with it."
        ),
    ],
    limit: Limit = 20,
    fired: Annotated[bool, typer.Option("--fired", help="Only of rules that fired.")] = False,
    as_json: Json = False,
) -> None:
    """Show why a model was trained again or not, why a version serves or does not, and why a run began."""
    kind, _, name = ref.rpartition("/")
    if kind == "deployment":
        with session.homeostat() as homeostat:
            tried = homeostat.tried(name, limit=limit)
            said = None if as_json else homeostat.reason(ref)
        if said is None:
            print_json(tried)
            return
        typer.echo(said.sentence)
        if tried:
            rollouts.show(tried)
    elif kind in ("", "model", "trigger") and "@" not in name:
        _rules(session, ref, limit, fired, as_json)
    else:
        with session.homeostat() as homeostat:
            told = homeostat.reason(ref)
        if as_json:
            print_json(told)
            return
        typer.echo(told.sentence)
        print_table(
            ["at", "subject", "what", "because"],
            [[moment(one.at), one.subject, one.what, one.because] for one in told.facts],
        )


def _rules(session: Session, trigger: str, limit: int, fired: bool, as_json: bool) -> None:
    with session.homeostat() as homeostat:
        found = homeostat.why(trigger, limit=limit, fired=fired)
        said = None if as_json or fired else homeostat.reason(trigger)
    if as_json:
        print_json(found)
        return
    if said is not None:
        typer.echo(said.sentence)
    if not found:
        return
    rows = [
        [
            moment(e.at),
            e.rule,
            "fired" if e.fired else "no",
            number(e.value),
            number(e.threshold),
            e.reason,
            f"run/{e.run}" if e.run else "",
        ]
        for e in found
    ]
    print_table(["at", "rule", "fired", "value", "threshold", "because", "run"], rows)


def lineage(
    session: Session,
    ref: Annotated[
        str,
        typer.Argument(
            help="kind/name@version, as in model/churn@champion, dataset/rows@3, prediction/01J…."
        ),
    ],
    direction: Annotated[
        Literal["up", "down", "both"], typer.Option(help="up: what it came from; down: what came of it.")
    ] = "both",
    as_json: Json = False,
) -> None:
    """Show what a thing came from and what came of it."""
    kind, _, name = ref.partition("/")
    with session.homeostat() as homeostat:
        found = homeostat.prediction(name) if kind == "prediction" else homeostat.lineage(ref, direction)
    if as_json:
        print_json(found)
        return
    if kind == "prediction":
        _show(found["prediction"], {k: v for k, v in found.items() if k != "prediction"}, _of_value)
        return
    sides = {"came from": found.get("up"), "went into": found.get("down")}
    _show(found["ref"], {side: nodes for side, nodes in sides.items() if nodes is not None}, _of_nodes)


def verify(session: Session, as_json: Json = False) -> None:
    """Walk the ledger's hash chain; names the first event that was edited, removed or reordered."""
    with session.homeostat() as homeostat:
        verdict = homeostat.verify()
    if as_json:
        print_json(verdict)
    elif verdict.ok:
        typer.echo(f"The ledger holds: {verdict.checked:,} events, each follows from the one before.")
    else:
        typer.echo(
            f"The ledger is broken at event {verdict.broken_at}: {verdict.reason} "
            f"({verdict.checked:,} events before it hold)."
        )
    if not verdict.ok:
        raise typer.Exit(1)


def ls(
    session: Session,
    subject: Annotated[str, typer.Option(metavar="REF", help="Only events about this, at any version.")] = "",
    kind: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="Only events of this kind, as in run.failed.")
    ] = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """Show events, the newest first."""
    with session.homeostat() as homeostat:
        found = homeostat.events(subject=subject, kinds=kind or [], limit=limit)
    if as_json:
        print_json(found)
        return
    rows = [[e.seq, moment(e.at), e.kind, e.subject, e.actor] for e in found]
    print_table(["seq", "at", "kind", "subject", "actor"], rows)


def _of_nodes(side: str, nodes: list[dict[str, Any]]) -> tuple[str, list[tuple[str, Any]]]:
    """The line of a side or a node of lineage, and its children."""
    return side, [
        (f"{node['ref']}  ({node['role']})", node.get("up") or node.get("down") or []) for node in nodes
    ]


def _of_value(name: str, value: Any) -> tuple[str, list[tuple[str, Any]]]:
    """The line of a part of a trace, and its children."""
    if isinstance(value, dict):
        return name, list(value.items())
    if isinstance(value, list):
        return name, [
            (str(item.get("view", n)), item) if isinstance(item, dict) else (str(item), {})
            for n, item in enumerate(value)
        ]
    return f"{name}: {value}", []


def _show(root: str, parts: dict[str, Any], line: Any) -> None:
    """A tree: with branches on a terminal, indented elsewhere."""
    if sys.stdout.isatty():
        from rich.markup import escape
        from rich.tree import Tree

        def grow(tree: Tree, name: str, value: Any) -> None:
            text, children = line(name, value)
            branch = tree.add(escape(text))
            for child_name, child in children:
                grow(branch, child_name, child)

        tree = Tree(escape(root))
        for name, value in parts.items():
            grow(tree, name, value)
        console().print(tree)
        return

    def write(name: str, value: Any, depth: int) -> None:
        text, children = line(name, value)
        typer.echo("  " * depth + text)
        for child_name, child in children:
            write(child_name, child, depth + 1)

    typer.echo(root)
    for name, value in parts.items():
        write(name, value, 1)
