"""The command line: one command a question or an act, over the use cases. What it prints is for people, or JSON."""

from __future__ import annotations


def main() -> None:
    """The ``homeostat`` program."""
    from homeostat.cli.program import run

    run()
