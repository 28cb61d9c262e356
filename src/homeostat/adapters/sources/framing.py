"""How files of TensorBoard and W&B hold one message after the other, each with a checksum.

TensorBoard's are TFRecords (https://www.tensorflow.org/tutorials/load_data/tfrecord): length, its masked CRC-32C, the
bytes, and theirs. W&B's are logs of LevelDB (https://github.com/google/leveldb/blob/main/doc/log_format.md) with a
header of seven bytes and the plain CRC-32: blocks of 32 KiB, in them parts of records.

A file may end in the middle of a record: whoever wrote it was killed, or goes on.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from homeostat.adapters.sources.reading import damaged
from homeostat.domain.errors import NotInstalled
from homeostat.ports.sources import Missing

LARGEST: Final = 1 << 30
_LENGTH: Final = struct.Struct("<QI")
_CRC: Final = struct.Struct("<I")
_MASK: Final = 0xA282EAD8
_PART: Final = struct.Struct("<IHB")
_BLOCK: Final = 32_768
_WANDB: Final = b":W&B\xe1\xbe"
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_CUT: Final = "it ends in the middle of a record, which was left out"


def tfrecords(path: Path, missing: list[Missing]) -> Iterator[bytes]:
    """The records of a TFRecord file; what is damaged or cut off is told in ``missing``."""
    crc = _crc32c()
    try:
        with path.open("rb") as file:
            while head := file.read(_LENGTH.size):
                length, check = _LENGTH.unpack(head) if len(head) == _LENGTH.size else (0, None)
                if check is None:
                    missing.append(Missing(str(path), _CUT))
                    return
                if check != _masked(crc(head[:8])) or length > LARGEST:
                    missing.append(
                        Missing(str(path), f"it is damaged from byte {file.tell() - len(head):,} on")
                    )
                    return
                data, end = file.read(length), file.read(_CRC.size)
                if len(end) < _CRC.size:
                    missing.append(Missing(str(path), _CUT))
                    return
                if _CRC.unpack(end)[0] == _masked(crc(data)):
                    yield data
                else:
                    missing.append(Missing(str(path), "one of its records is damaged, and was left out"))
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error


def wandb_records(path: Path, missing: list[Missing]) -> Iterator[bytes]:
    """The records of a ``.wandb`` file; what is damaged or cut off is told in ``missing``.

    Raises:
        BadRequest: it is no such file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(7)
            if head[:6] != _WANDB:
                raise damaged(path, "it is no file of W&B")
            yield from _joined(path, file, missing)
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error


def _joined(path: Path, file: IO[bytes], missing: list[Missing]) -> Iterator[bytes]:
    """Whole records, of which a block may hold a part."""
    parts: list[bytes] = []
    whole = True
    for kind, data in _parts(path, file, missing):
        if kind in (_FULL, _FIRST):
            parts, whole = [], True
        if kind is None:
            whole = False
            continue
        parts.append(data)
        if kind in (_FULL, _LAST) and whole:
            yield b"".join(parts)
            parts = []
    if parts:
        missing.append(Missing(str(path), _CUT))


def _parts(path: Path, file: IO[bytes], missing: list[Missing]) -> Iterator[tuple[int | None, bytes]]:
    """Parts of records; None where some were damaged: the rest of that block is passed over."""
    while True:
        left = _BLOCK - file.tell() % _BLOCK
        if left < _PART.size:
            file.seek(left, 1)
            continue
        head = file.read(_PART.size)
        if not head.strip(b"\0"):
            if len(head) < _PART.size:
                return
            file.seek(left - _PART.size, 1)  # the rest of the block was never written
            continue
        if len(head) < _PART.size:
            missing.append(Missing(str(path), _CUT))
            return
        check, length, kind = _PART.unpack(head)
        data = file.read(min(length, left - _PART.size))
        if len(data) < length and length <= left - _PART.size:
            missing.append(Missing(str(path), _CUT))
            return
        if len(data) < length or zlib.crc32(data, zlib.crc32(head[6:])) != check:
            missing.append(Missing(str(path), "a block of it is damaged, and its records were left out"))
            yield None, b""
            file.seek(-file.tell() % _BLOCK, 1)
            continue
        yield kind, data


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def _crc32c() -> Any:
    try:
        import google_crc32c
    except ImportError as error:
        raise NotInstalled(
            "reading files of TensorBoard needs google-crc32c, which is not installed",
            remedy="Run: pip install 'homeostat[import]'",
        ) from error
    return google_crc32c.value
