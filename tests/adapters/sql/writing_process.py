"""A process that writes to a store: arguments URL, its name, how many transactions (0: until it is killed).

Each transaction adds one record and one event. With "hold" in place of a number it stops inside one.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

from homeostat.adapters.sql import SqlMetaStore
from homeostat.domain.events import Edge, Event
from homeostat.domain.records import Cursor

AT = datetime(2013, 5, 1, tzinfo=UTC)


def main(url: str, name: str, count: str) -> None:
    store = SqlMetaStore(url)
    number = 0
    while count in ("hold", "0") or number < int(count):
        with store.begin() as tx:
            subject = f"run/{name}-{number}"
            tx.insert(Cursor(name=subject, seq=number))
            tx.append(Event(kind="written", subject=subject, at=AT, edges=(Edge("code/x", subject, "code"),)))
            if count == "hold":
                sys.stdout.write("holding\n")
                sys.stdout.flush()
                time.sleep(60)
        number += 1
        if count == "0" and number == 1:
            sys.stdout.write("writing\n")
            sys.stdout.flush()
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
