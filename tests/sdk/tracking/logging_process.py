"""A training as tests kill it: ``python logging_process.py COUNT PAUSE [RUN]``.

It says which run it is, then each step once it was logged, then ``flushed``; after that it waits to be told to end.
"""

from __future__ import annotations

import os
import sys
import time

import homeostat as hs


def say(what: object) -> None:
    os.write(1, f"{what}\n".encode())


count, pause = int(sys.argv[1]), float(sys.argv[2])
with hs.run("faults", name="killed", id=sys.argv[3] if len(sys.argv) > 3 else "", sample=0) as run:
    run.log_params(count=count)
    say(run.id)
    for step in range(count):
        hs.log(loss=step / 2, step=step)
        say(step)
        if pause:
            time.sleep(pause)
    assert run.flush()
    say("flushed")
    sys.stdin.readline()
