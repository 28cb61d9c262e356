"""Online stores: bytes by view and key, embedded or on Redis. Nothing here knows what the bytes mean."""

from homeostat.adapters.online.lmdb import LmdbOnline
from homeostat.adapters.online.redis import RedisOnline

__all__ = ["LmdbOnline", "RedisOnline"]
