"""Batches on their way: a frame of rows as one Arrow IPC stream, and back."""

from __future__ import annotations

import io
from collections.abc import Iterable

import polars as pl

from homeostat.domain.contracts import SEQ
from homeostat.domain.digests import Digesting, digest_of
from homeostat.domain.records import Batch


def encode(rows: pl.DataFrame) -> bytes:
    """The rows as an Arrow IPC stream."""
    sink = io.BytesIO()
    _write(rows, sink)
    return sink.getvalue()


def _write(rows: pl.DataFrame, sink: io.IOBase) -> None:
    rows.write_ipc_stream(sink, compat_level=pl.CompatLevel.oldest())  # type: ignore[call-overload] # only written to


def decode(payload: bytes) -> pl.DataFrame:
    """The rows of an Arrow IPC stream."""
    return pl.read_ipc_stream(payload)


def rows_of(batches: Iterable[Batch]) -> pl.DataFrame:
    """All rows of ``batches`` in order, each with the seq of its batch in ``SEQ``."""
    return joined((batch.seq, batch.payload) for batch in batches)


def joined(payloads: Iterable[tuple[int, bytes]]) -> pl.DataFrame:
    """As ``rows_of``, of seqs and payloads; none is held once it is decoded."""
    frames, seqs = [], []
    for seq, payload in payloads:
        frames.append(decode(payload))
        seqs += [seq] * frames[-1].height
    if not frames:
        return pl.DataFrame()
    return pl.concat(frames, how="diagonal").hstack([pl.Series(SEQ, seqs, pl.Int64)])


def content_digest(previous: str, rows: pl.DataFrame) -> str:
    """The digest of a version: of the digest before it and of the rows added, in their order."""
    added = Digesting()
    _write(rows.select(sorted(c for c in rows.columns if c != SEQ)), added)
    return digest_of([previous, added.digest])
