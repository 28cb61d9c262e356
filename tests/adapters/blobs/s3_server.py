"""A real S3 server on a free port of this machine: moto, in a process of its own.

In a thread it would wait for the interpreter's lock while a library in Rust holds that lock and waits for it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from homeostat.app.container import s3_options


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """Options of a server that has the bucket ``bucket``."""
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as server:
        assert server.stderr is not None
        lines = (re.search(r"http://[\d.]+:\d+", line) for line in server.stderr)
        endpoint = next(found[0] for found in lines if found)
        # Each request is a line of the server's log; an unread pipe would fill and stop it.
        drain = subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)
        with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket", method="PUT")) as answer:
            assert answer.status == 200
        yield s3_options(
            {
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_REGION": "us-east-1",
            }
        )
        server.terminate()
        drain.wait()
