"""How answers look: tables and colour on a terminal, plain columns in a pipe, JSON where it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeostat.domain.errors import HomeostatError

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
STAGES = {"champion": "green", "canary": "cyan", "rejected": "red", "rolled-back": "red", "failed": "red"}


def console(*, stderr: bool = False) -> Console:
    """Where text for people goes."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def complain(error: HomeostatError) -> None:
    """Say on stderr what went wrong and what to do about it."""
    colour = sys.stderr.isatty()
    typer.echo(
        f"{typer.style('error:', fg='red', bold=True) if colour else 'error:'} {error.message}", err=True
    )
    if error.remedy:
        typer.echo(f"  {typer.style('do:', bold=True) if colour else 'do:'} {error.remedy}", err=True)


def print_json(value: Any) -> None:
    """Print ``value`` as JSON."""
    typer.echo(json_text(value))


def json_text(value: Any) -> str:
    """``value`` as JSON: records, structs, datetimes and all."""
    import msgspec

    from homeostat.domain.numbers import in_json

    plain = _marked(msgspec.to_builtins(value, enc_hook=in_json))
    return msgspec.json.format(msgspec.json.encode(plain, enc_hook=in_json), indent=2).decode()


def _marked(value: Any) -> Any:
    """What a server's answer was read into, its infinities marked as those that JSON gets as texts."""
    from homeostat.domain.numbers import plain

    if isinstance(value, float):
        return plain(value)
    if isinstance(value, dict):
        return {key: _marked(inner) for key, inner in value.items()}
    return [_marked(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "") -> None:
    """A table: with colour and rules on a terminal, aligned columns elsewhere, nothing cut off there."""
    texts = [[_text(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich import box
        from rich.markup import escape
        from rich.table import Table

        table = Table(
            *columns, box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False
        )
        for row in texts:
            table.add_row(*(f"[{STAGES[cell]}]{cell}[/]" if cell in STAGES else escape(cell) for cell in row))
        console().print(table, soft_wrap=False)
        return
    if title:
        typer.echo(title)
    texts = [[cell.replace("\n", " ") for cell in row] for row in texts]  # a line a row, whatever it holds
    widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
    for row in (list(columns), *texts):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    typer.echo()


@contextmanager
def progress(what: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done: a spinner on a terminal, a line a step elsewhere; on stderr."""
    if sys.stderr.isatty():
        from rich.markup import escape

        with console(stderr=True).status(escape(what)) as status:
            yield lambda text: status.update(escape(text))
        return
    typer.echo(what, err=True)
    yield lambda text: typer.echo(text, err=True)


def moment(at: Any) -> str:
    """A time to the second, UTC."""
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else ""


def number(value: float | None) -> str:
    """Four significant digits."""
    return "" if value is None else f"{value:.4g}"


def said(value: Any) -> str:
    """A feature's value: four significant digits of a number, all of anything else."""
    return number(value) if isinstance(value, float) else str(value)


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
