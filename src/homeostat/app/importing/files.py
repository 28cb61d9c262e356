"""Files on their way in: streamed into the artifacts of a run or a logged model, those that are there left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from homeostat.app.artifacts import Upload
from homeostat.app.container import Container
from homeostat.app.importing.summary import Summary
from homeostat.domain.errors import BadRequest, Conflict
from homeostat.domain.tracking import ArtifactFile
from homeostat.engine.tracking.places import clean, path_of, place_of
from homeostat.ports.sources import Missing, SourceFile


def bring_files(
    container: Container,
    root: str,
    files: Callable[[], Iterator[SourceFile]],
    summary: Summary,
    subject: str,
) -> int:
    """Bring files to where a run or a logged model has its own.

    One that is there with the same size stays as it is: files are there whole or not at all.

    Args:
        container: The ports.
        root: The URI of the place.
        files: The files.
        summary: Where to count them; with ``dry_run`` that is all.
        subject: Whose they are.

    Returns:
        How many came.
    """
    try:
        base = path_of(root)
    except BadRequest:
        for file in files():
            summary.tell(Missing(subject, f"its files are looked for at {root}: {file.path} is not"))
            break
        return 0
    count = 0
    for file in files():
        try:
            count += _bring(container, f"{base}/{file.path}", file, summary)
        except (BadRequest, Conflict) as error:
            summary.tell(Missing(subject, f"file {file.path}: {error.message}"))
    return count


def _bring(container: Container, path: str, file: SourceFile, summary: Summary) -> int:
    place = place_of(clean(path))
    there = container.store.get(ArtifactFile, place.root, place.path)
    if there is not None:
        if there.size != file.size:
            reason = f"it has {file.size:,} bytes there and {there.size:,} here, where it was not changed"
            summary.tell(Missing(f"file {place.full}", reason))
        return 0
    if not summary.dry_run:
        upload = Upload(container, path)
        for piece in file.read():
            if upload.take(piece):
                upload.put()
        upload.finish()
    summary.files += 1
    summary.bytes += file.size
    return 1
