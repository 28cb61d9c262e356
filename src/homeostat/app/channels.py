"""Channels: who is told of alerts, as the setting ``channels`` declares them.

A declaration is a few words: ``NAME KIND [URL] [severity=page] [after=15m]``; several are separated by semicolons. A
URL that holds a secret, as those of chats do, is not written there but given in the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, cast
from urllib.parse import urlsplit

from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import DeclarationError, HomeostatError
from homeostat.domain.refs import is_name

KINDS: Final = ("webhook", "apprise")
_REMEDY: Final = (
    "Write NAME webhook https://… [severity=page] [after=15m], or NAME apprise; several with ; between"
)


@dataclass(frozen=True)
class Channel:
    """One channel.

    Args:
        name: What it is called.
        kind: ``webhook``: signed CloudEvents; ``apprise``: any service that Apprise knows.
        url: Where to; empty: the environment says.
        severity: ``page``: it is told of pages alone; ``ticket``: of everything.
        after: It is told only of pages that nobody has acknowledged for so long; None: at once.
    """

    name: str
    kind: Literal["webhook", "apprise"]
    url: str = ""
    severity: Literal["ticket", "page"] = "ticket"
    after: timedelta | None = None

    @property
    def url_variable(self) -> str:
        """The environment variable of its URL."""
        return f"HOMEOSTAT_CHANNEL_{self._upper}_URL"

    @property
    def secret_variable(self) -> str:
        """The environment variable of the secret that its messages are signed with."""
        return f"HOMEOSTAT_CHANNEL_{self._upper}_SECRET"

    @property
    def _upper(self) -> str:
        return self.name.upper().replace("-", "_").replace(".", "_")

    def address(self, environ: Mapping[str, str] = os.environ) -> str:
        """Where to.

        Raises:
            HomeostatError: nothing says.
        """
        found = self.url or environ.get(self.url_variable, "")
        if not found:
            raise HomeostatError(f"channel {self.name} has no URL", remedy=f"Set {self.url_variable}")
        return found


def parse_channels(text: str) -> tuple[Channel, ...]:
    """The channels that a setting declares.

    Raises:
        HomeostatError: it is none, or carries a secret.
    """
    found = [_parse(part.split()) for part in text.split(";") if part.strip()]
    names = [one.name for one in found]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise HomeostatError(f"setting channels names {twice} twice", remedy="Give each a name of its own")
    return tuple(found)


def _parse(words: list[str]) -> Channel:
    text = " ".join(words)
    if len(words) < 2 or not is_name(words[0]) or words[1] not in KINDS:
        raise HomeostatError(f"setting channels has an unknown form: {words[0]!r}", remedy=_REMEDY)
    url, severity, after = "", "ticket", None
    for word in words[2:]:
        name, _, value = word.partition("=")
        if "://" in word:
            url = _plain(words[0], words[1], word)
        elif name == "severity" and value in ("ticket", "page"):
            severity = value
        elif name == "after" and value:
            try:
                after = parse_duration(value)
            except DeclarationError as error:
                raise HomeostatError(
                    f"setting channels says after={value} of {words[0]}", remedy="Write it as after=15m"
                ) from error
        else:
            raise HomeostatError(f"setting channels says {word!r} of {text.split()[0]}", remedy=_REMEDY)
    kind, level = cast("Literal['webhook', 'apprise']", words[1]), cast("Literal['ticket', 'page']", severity)
    return Channel(words[0], kind, url, level, after)


def _plain(name: str, kind: str, url: str) -> str:
    """A URL that may be stored and logged: one of HTTP, without credentials."""
    try:
        parts = urlsplit(url)
        secret = parts.username is not None or parts.query
    except ValueError as error:
        raise HomeostatError(f"channel {name} has no valid URL: {error}", remedy=_REMEDY) from error
    if kind == "apprise" or secret:
        raise HomeostatError(
            f"channel {name} may carry credentials in its URL",
            remedy=f"Remove it and set {Channel(name, 'webhook').url_variable} instead",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise HomeostatError(f"channel {name} has a URL of another kind than http", remedy=_REMEDY)
    return url
