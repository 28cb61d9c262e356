"""What tests of servers share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from homeostat.app.container import Container
from homeostat.app.settings import Settings
from tests.server.collecting import Collector


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    """An embedded Homeostat with nothing in it."""
    with Container(Settings(home=tmp_path / "home")) as made:
        yield made


@pytest.fixture
def collector() -> Iterator[str]:
    Collector.got = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
