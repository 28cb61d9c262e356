"""The end of what a program prints, kept beside what it logs."""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import Any, Final

LARGEST: Final = 64 << 10
_changing: Final = threading.Lock()  # held while the program's streams are replaced


class Tail:
    """The last characters that were written, a line that was drawn over counting as it stands last."""

    def __init__(self, largest: int = LARGEST) -> None:
        self._largest = largest
        self._parts: deque[str] = deque()
        self._size = 0
        self._cut = False
        self._lock = threading.Lock()
        self.changed = False

    def write(self, text: str) -> None:
        """Add what was written."""
        with self._lock:
            self._parts.append(text[-self._largest :])
            self._size += len(self._parts[-1])
            self._cut |= len(text) > self._largest
            while self._size > self._largest and len(self._parts) > 1:
                self._size -= len(self._parts.popleft())
                self._cut = True
            self.changed = True

    def text(self) -> str:
        """What is there, as a terminal would show it."""
        with self._lock:
            self.changed = False
            text, cut = "".join(self._parts), self._cut
        lines = text.replace("\r\n", "\n").split("\n")
        shown = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)
        return f"(…)\n{shown}" if cut else shown


class _Tee:
    """A text stream that also writes to tails; all else is the stream's own."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._tails: tuple[Tail, ...] = ()  # replaced as a whole, since other threads write meanwhile

    def write(self, text: str) -> int:
        written: int = self._stream.write(text)
        for tail in self._tails:
            tail.write(text)
        return written

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)


class Console:
    """Follows ``sys.stdout`` and ``sys.stderr`` until it is closed. Several share one tee, and close in any order."""

    def __init__(self) -> None:
        self.tail = Tail()
        self._tees: dict[str, _Tee] = {}
        with _changing:
            for name in ("stdout", "stderr"):
                stream = getattr(sys, name)
                if stream is not None:
                    tee = stream if isinstance(stream, _Tee) else _Tee(stream)
                    tee._tails = (*tee._tails, self.tail)
                    self._tees[name] = tee
                    setattr(sys, name, tee)

    def close(self) -> None:
        """Put the streams back, unless others follow them too or somebody else has put others there."""
        with _changing:
            for name, tee in self._tees.items():
                tee._tails = tuple(tail for tail in tee._tails if tail is not self.tail)
                if not tee._tails and getattr(sys, name) is tee:
                    setattr(sys, name, tee._stream)
