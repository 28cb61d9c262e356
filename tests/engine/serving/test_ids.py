"""Ids are unique, also where a process was forked with some in store, and sort by their time."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from homeostat.domain.ids import new_id

NOON = datetime(2013, 7, 1, 12, tzinfo=UTC)
FORKING = """
import os
from datetime import UTC, datetime
from homeostat.domain.ids import new_id

now = datetime.now(UTC)
new_id(now)
child = os.fork()
ids = [new_id(now) for _ in range(100)]
if child:
    os.waitpid(child, 0)
os.write(1, ("\\n".join(ids) + "\\n").encode())
os._exit(0)
"""


def made(count: int) -> list[str]:
    return [new_id(NOON) for _ in range(count)]


def test_they_sort_by_their_time_and_never_come_twice() -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = [id for some in pool.map(made, [2_000] * 4) for id in some]
    assert len(set(ids)) == 8_000
    assert {(len(id), id[:10]) for id in ids} == {(26, ids[0][:10])}
    assert set("".join(ids)) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
    assert max(ids) < new_id(NOON + timedelta(milliseconds=1))
    assert new_id(datetime(1970, 1, 1, tzinfo=UTC))[:10] == "0" * 10


def test_a_forked_process_has_its_own() -> None:
    told = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True).stdout
    assert len(set(told.split())) == 200
