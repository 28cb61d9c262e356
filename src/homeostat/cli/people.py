"""Who acts: ``--as``, by default whoever is logged in."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer


def login() -> str:
    """The login name; ``user`` where the system knows none, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # KeyError until Python 3.13
        return "user"


Actor = Annotated[
    str,
    typer.Option(
        "--as",
        metavar="NAME",
        help="Who does so; kept in the ledger.",
        callback=lambda given: given or login(),
        show_default="your login name",
    ),
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; kept in the ledger.")]
