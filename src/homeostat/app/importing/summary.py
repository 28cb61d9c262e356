"""What an import did, counted, and what did not come over, with the reasons."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from homeostat.ports.sources import Missing

NOTES: Final = 1000
What = Literal["new", "completed", "same"]


class Count(msgspec.Struct):
    """How many things of a kind were ``new``, were here and lacked something, or were here as they are."""

    new: int = 0
    completed: int = 0
    same: int = 0

    def add(self, what: What) -> None:
        """Count one more."""
        setattr(self, what, getattr(self, what) + 1)


class Note(msgspec.Struct):
    """Something that did not come over, or not as it was, and why; ``count`` times.

    ``failed``: it was to come, and could not.
    """

    subject: str
    reason: str
    count: int = 1
    failed: bool = False


class Summary(msgspec.Struct):
    """What came in, or with ``dry_run`` what would. Notes beyond the first thousand are counted in ``more``."""

    source: str
    place: str
    dry_run: bool = False
    experiments: Count = msgspec.field(default_factory=Count)
    runs: Count = msgspec.field(default_factory=Count)
    logged_models: Count = msgspec.field(default_factory=Count)
    models: Count = msgspec.field(default_factory=Count)
    versions: Count = msgspec.field(default_factory=Count)
    points: int = 0
    files: int = 0
    bytes: int = 0
    failed: int = 0
    notes: list[Note] = msgspec.field(default_factory=list)
    more: int = 0

    def tell(self, *missing: Missing) -> None:
        """Keep what did not come over; the same once more is counted."""
        for subject, reason in missing:
            for note in self.notes:
                if note.subject == subject and note.reason == reason:
                    note.count += 1
                    break
            else:
                if len(self.notes) < NOTES:
                    self.notes.append(Note(subject, reason))
                else:
                    self.more += 1

    def fail(self, name: str, reason: str) -> None:
        """Keep what could not come, however much else is told."""
        self.failed += 1
        note = Note(name, reason, failed=True)
        if self.failed <= NOTES:
            self.notes.append(note)
        else:
            self.more += 1

    def tell_all(self, missing: Iterable[Missing]) -> None:
        """Keep what did not come over."""
        self.tell(*missing)
