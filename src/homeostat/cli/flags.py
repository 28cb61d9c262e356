"""Every setting as a flag, at the root and at each command; those that matter to a command stand in its help."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import typer

from homeostat.app.settings import NAMES, described
from homeostat.cli.session import Session

_PANEL: Final = "Settings"
_METAVARS: Final = dict.fromkeys(
    ("store", "blobs", "tables", "online", "executor", "server", "otlp"), "URL"
) | {
    "home": "DIR",
    "host": "ADDRESS",
    "port": "PORT",
    "serve_port": "PORT",
    "grpc_port": "PORT",
    "workers": "N",
    "trainings": "N",
    "training_limit": "DURATION",
    "clock": "CLOCK",
    "trace_share": "SHARE",
    "trace_limit": "N",
    "country": "CODE",
    "energy_price": "PRICE",
    "cpu_price": "PRICE",
    "lineage": "FILE|URL",
    "channels": "URLS",
}


def command(
    app: typer.Typer, name: str, *, settings: Sequence[str] = ("home",), **options: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function whose first parameter is the ``Session``.

    Args:
        app: Where it goes.
        name: What it is called.
        settings: The settings that its help shows; the others are accepted all the same.
        options: More for ``typer.Typer.command``.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        app.command(name, **options)(_with_session(function, settings))
        return function

    return register


def rooted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give the root callback a flag for each setting, in place of its ``**flags``."""
    own = [p for p in _parameters(function) if p.kind is not inspect.Parameter.VAR_KEYWORD]
    return _signed(function, [*own, *_flags(shown=NAMES)])


def _with_session(function: Callable[..., Any], shown: Sequence[str]) -> Callable[..., Any]:
    own = _parameters(function)[1:]

    def call(context: typer.Context, **given: Any) -> Any:
        flags = {name: value for name in NAMES if (value := given.pop(name)) is not None}
        return function(Session((context.find_root().obj or {}) | flags), **given)

    functools.update_wrapper(call, function)
    taken = {p.name for p in own}
    assert not taken & set(NAMES), f"{function.__name__} has a parameter with the name of a setting"
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    return _signed(call, [context, *own, *_flags(shown=shown)])


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function, eval_str=True).parameters.values())


def _signed(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> Callable[..., Any]:
    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    function.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]  # read by typer
    function.__annotations__ = {p.name: p.annotation for p in keyword}
    return function


def _flags(shown: Sequence[str]) -> list[inspect.Parameter]:
    made = []
    for name, variable, default, text in described():
        option = typer.Option(
            "--" + name.replace("_", "-"),
            help=f"{text} [{variable}; default: {default}]",
            metavar=_METAVARS[name],
            rich_help_panel=_PANEL,
            hidden=name not in shown,
            show_default=False,
        )
        made.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
            )
        )
    return made
