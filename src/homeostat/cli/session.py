"""What a command acts on: the server where one runs for this home or is named, else the store itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from homeostat.app.container import Container
    from homeostat.app.settings import Settings
    from homeostat.cli.direct import Direct
    from homeostat.sdk.client import Client


class Session:
    """The settings of one invocation, and what they lead to.

    Args:
        flags: Settings given on the command line, by name.
    """

    def __init__(self, flags: Mapping[str, Any]) -> None:
        self._flags = flags

    @cached_property
    def settings(self) -> Settings:
        """The settings in force."""
        from homeostat.app.settings import Settings

        return Settings.load(self._flags)

    def given(self, name: str) -> bool:
        """Whether a setting stands on the command line."""
        return self._flags.get(name) is not None

    @property
    def server(self) -> str:
        """The server to ask; empty where the store is read directly."""
        from homeostat.app.running import named_server, running

        if named := named_server(self.settings):
            return named
        up = running(self.settings.home)
        return up.server if up else ""

    @contextmanager
    def container(self) -> Iterator[Container]:
        """The store and its kin, in this process."""
        from homeostat.app.container import Container

        with Container(self.settings) as container:
            yield container

    @contextmanager
    def homeostat(self) -> Iterator[Client | Direct]:
        """The server's client, or the same calls on the store."""
        if server := self.server:
            from homeostat.sdk.client import Client

            with Client(server) as client:
                yield client
            return
        from homeostat.cli.direct import Direct

        with self.container() as container:
            yield Direct(container)
