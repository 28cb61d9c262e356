"""Blobs by content: in folders, or in an S3-compatible object store. Nothing here knows what a blob means."""

from homeostat.adapters.blobs.direct import S3Direct
from homeostat.adapters.blobs.file import FileBlobs
from homeostat.adapters.blobs.s3 import S3Blobs

__all__ = ["FileBlobs", "S3Blobs", "S3Direct"]
