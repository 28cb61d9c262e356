"""The online store on Redis: a view is one hash, with its position as a field of it.

So a view is written, lost, evicted and cleared as one thing, and entries never outlive their position.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Final

from homeostat.domain.errors import HomeostatError, StoreUnavailable

if TYPE_CHECKING:
    import redis

_POSITION: Final = b"\x00position"
_AT_ONCE: Final = 5000


class RedisOnline:
    """The store at ``url`` (``redis://host:port/database``). Safe for threads and after a fork.

    User and password come from REDIS_USERNAME and REDIS_PASSWORD.

    Raises:
        HomeostatError: the library is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            import redis
        except ImportError as error:
            raise HomeostatError(
                f"{url} needs the library redis", remedy="Install it: pip install 'homeostat[redis]'"
            ) from error
        self._url = url
        self._client: redis.Redis = redis.Redis.from_url(
            url,
            username=os.environ.get("REDIS_USERNAME"),
            password=os.environ.get("REDIS_PASSWORD"),
            socket_timeout=5,
            socket_connect_timeout=5,
        )

    def position(self, view: str) -> int:
        """The position of the last write to ``view``, or -1."""
        with self._answering():
            found = self._client.hget(_name(view), _POSITION)
        return -1 if found is None else int(found)

    def write(self, view: str, entries: Mapping[bytes, bytes], position: int) -> None:
        """Set entries and position in one MULTI/EXEC.

        Raises:
            StoreUnavailable: Redis does not answer; whether it wrote is then unknown, but never half.
        """
        name, rest = _name(view), iter(entries.items())
        with self._answering(), self._client.pipeline(transaction=True) as pipeline:
            while part := dict(islice(rest, _AT_ONCE)):
                pipeline.hset(name, mapping={b"=" + key: value for key, value in part.items()})
            pipeline.hset(name, _POSITION, position)
            pipeline.execute()

    def read(self, keys: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        """The values at one moment, in order and in one round trip."""
        if not keys:
            return []
        places: dict[str, list[int]] = {}
        for index, (view, _) in enumerate(keys):
            places.setdefault(view, []).append(index)
        with self._answering(), self._client.pipeline(transaction=len(places) > 1) as pipeline:
            for view, indexes in places.items():
                pipeline.hmget(_name(view), [b"=" + keys[index][1] for index in indexes])
            answers = pipeline.execute()
        values: list[bytes | None] = [None] * len(keys)
        for indexes, answer in zip(places.values(), answers, strict=True):
            for index, value in zip(indexes, answer, strict=True):
                values[index] = value
        return values

    def clear(self, view: str) -> None:
        """Forget a view and its position."""
        with self._answering():
            self._client.unlink(_name(view))

    def close(self) -> None:
        """Give back the connections."""
        self._client.close()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        import redis

        try:
            yield
        except redis.RedisError as error:
            raise StoreUnavailable(
                f"the online store at {self._url} does not answer: {error}",
                remedy="Start Redis, or correct HOMEOSTAT_ONLINE, REDIS_USERNAME or REDIS_PASSWORD",
            ) from error


def _name(view: str) -> str:
    return f"homeostat:online:{view}"
