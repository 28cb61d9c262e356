"""The registry as a client asks it: models, versions, their files, who vouched for them, and their papers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec

from homeostat.domain.records import GateResult, ModelVersion
from homeostat.domain.times import parse_time
from homeostat.sdk.calls import Calls

if TYPE_CHECKING:
    from homeostat.app.approvals import Standing
    from homeostat.app.registry.reading import ModelShown, VersionShown
    from homeostat.app.registry.reports import Compared, Live, Model, Models
    from homeostat.app.signatures import Signatures
    from homeostat.engine.registry.card import Card

_LONG: Final = 600.0  # seconds: some gigabytes are read and written before there is an answer


class Registry(Calls):
    """Calls about models and their versions."""

    def versions(self, model: str) -> list[ModelVersion]:
        """The versions of a model, the newest first."""
        return self._get(f"/models/{quote(model)}/versions", list[ModelVersion])

    def models(self, filter: str = "", *, limit: int = 20) -> Models:
        """Registered models by name, declared in a project or not; a filter as ``name LIKE 'churn%'``."""
        from homeostat.app.registry.reports import Models

        return self._get("/models", Models, {"filter": filter, "limit": limit})

    def model(self, name: str, *, limit: int = 20) -> Model:
        """A registered model with its newest versions.

        Raises:
            NotFound: there is none of this name.
        """
        from homeostat.app.registry.reports import Model

        return self._get(f"/models/{quote(name)}", Model, {"limit": limit})

    def version(self, name: str, at: str | int = "latest") -> VersionShown:
        """A version by its number, or the one that an alias points to."""
        from homeostat.app.registry.reading import VersionShown

        return self._get(f"/models/{quote(name)}/versions/{quote(str(at))}", VersionShown)

    def live_at(self, name: str, at: datetime | str, *, alias: str = "champion") -> Live:
        """What an alias of a model pointed to at a time (UTC unless it says), and what its deployment served then."""
        from homeostat.app.registry.reports import Live

        return self._get(f"/models/{quote(name)}/live", Live, {"at": _moment(at).isoformat(), "alias": alias})

    def compare(self, old: str, new: str) -> Compared:
        """What two versions differ in, such as ``model/churn@3`` and ``model/churn@champion``."""
        from homeostat.app.registry.reports import Compared

        return self._get("/compare", Compared, {"old": old, "new": new})

    def gates(self, model: str, version: int) -> list[GateResult]:
        """The verdict of each gate on a version, with its evidence."""
        return self._get(f"/models/{quote(model)}/versions/{version}/gates", list[GateResult])

    def approve(
        self, model: str, version: int, *, reason: str, actor: str = "user", digest: str = ""
    ) -> Standing:
        """Agree to a version that passed its gates; ``digest`` is that of the package that was looked at."""
        from homeostat.app.approvals import Standing

        body = {"reason": reason, "actor": actor, "digest": digest}
        path = f"/models/{quote(model)}/versions/{version}/approve"
        return self._post(path, body, Standing, repeatable=True)

    def approvals(self, model: str, version: int) -> Standing:
        """How a version stands with its approvals."""
        from homeostat.app.approvals import Standing

        return self._get(f"/models/{quote(model)}/versions/{version}/approvals", Standing)

    def export(
        self, model: str, folder: str | PathLike[str], at: str | int = "latest", *, layout: str = "mlflow"
    ) -> int:
        """Write the files of a version into a folder; they are in it once all have come.

        Args:
            model: Its name.
            folder: Where to; new, or empty.
            at: A number or an alias.
            layout: ``mlflow``: an MLflow model directory; ``package``: the files as they are kept.

        Returns:
            How many files those are.

        Raises:
            NotFound: there is no such version, or its files are not kept there.
            Conflict: the folder holds something, or MLflow has no flavor for such a model.
            StoreUnavailable: no answer came, or the disk does not take the files, of which it holds two for a while.
        """
        from homeostat.adapters.disk import kept
        from homeostat.app.registry.trees import check_free, from_tar, place_by, write_tree

        check_free(Path(folder))
        path = f"/models/{quote(model)}/versions/{quote(str(at))}/files"
        with kept("the files", place_by(Path(folder))) as file, file:
            self._transport.send(
                "GET", path, params={"layout": layout}, into=file, timeout=_LONG, repeatable=True
            )
            files = from_tar(file)
            write_tree(files, Path(folder))
        return len(files)

    def import_directory(self, model: str, folder: str | PathLike[str]) -> ModelVersion:
        """Make an MLflow model directory a version; the same again gives the same version.

        Args:
            model: Its name.
            folder: The directory; it goes by way of the folder for temporary files, which TMPDIR names.

        Raises:
            BadRequest: it is no model directory.
            Unsafe: its ``MLmodel`` file does not describe a model.
            StoreUnavailable: no answer came, or the disk here or there does not take the files.
        """
        from homeostat.adapters.disk import kept
        from homeostat.app.registry.trees import read_tree, to_tar
        from homeostat.engine.registry.flavors import MLMODEL

        remedy = "Free some space there, or name a folder that has some with TMPDIR"
        with kept("the directory", None, remedy) as file, file:
            to_tar(read_tree(Path(folder), holding=MLMODEL), file)
            answer = self._transport.send(
                "POST",
                f"/models/{quote(model)}/import",
                content=file,
                timeout=_LONG,
                repeatable=True,
                late="It goes on at the server; import the same again, which gives the same version",
            )
        return msgspec.json.decode(answer, type=ModelVersion)

    def alias(self, model: str, alias: str, version: int | None, *, actor: str = "user") -> ModelShown:
        """Let an alias point to a version, or with None to nothing.

        Raises:
            NotFound: there is no such version.
            BadRequest: the alias cannot be set, or it deploys, and the version cannot be deployed.
        """
        from homeostat.app.registry.reading import ModelShown

        body = {"alias": alias, "version": version, "actor": actor}
        return self._post(f"/models/{quote(model)}/alias", body, ModelShown, repeatable=True)

    def mark(
        self,
        model: str,
        at: str | int = "",
        *,
        tags: Mapping[str, str | None] | None = None,
        description: str | None = None,
        actor: str = "user",
    ) -> ModelShown:
        """Tag and describe a model, or one version of it; a tag of None is taken off."""
        from homeostat.app.registry.reading import ModelShown

        body = {"version": str(at), "tags": dict(tags or {}), "description": description, "actor": actor}
        return self._post(f"/models/{quote(model)}/mark", body, ModelShown, repeatable=True)

    def sign(
        self,
        model: str,
        at: str | int = "latest",
        *,
        bundle: str,
        public: str,
        digest: str = "",
        actor: str = "user",
    ) -> Signatures:
        """Keep a signature with a version; ``homeostat models sign`` makes one and sends it.

        Args:
            model: Its name.
            at: A number or an alias.
            bundle: The signature, as OpenSSF's model signing writes it.
            public: The public key, as PEM; also that of a certificate.
            digest: The digest of the package that was signed.
            actor: Who signed.

        Raises:
            Unsafe: it is not over the files of the version, or not by that key.
        """
        from homeostat.app.signatures import Signatures

        body = {"bundle": bundle, "public": public, "digest": digest, "actor": actor}
        path = f"/models/{quote(model)}/versions/{quote(str(at))}/signatures"
        return self._post(path, body, Signatures, repeatable=True)

    def signatures(self, model: str, at: str | int = "latest") -> Signatures:
        """Who signed a version, each signature verified now, and what the project asks for."""
        from homeostat.app.signatures import Signatures

        return self._get(f"/models/{quote(model)}/versions/{quote(str(at))}/signatures", Signatures)

    def bundles(self, model: str, at: str | int = "latest") -> list[dict[str, str]]:
        """The signatures of a version as they were sent: ``bundle`` and ``public``, to verify them oneself."""
        return self._get(f"/models/{quote(model)}/versions/{quote(str(at))}/bundles", list[dict[str, str]])

    def deprecate(
        self,
        model: str,
        at: str | int,
        *,
        on: datetime | str,
        reason: str,
        use: str = "",
        actor: str = "user",
    ) -> VersionShown:
        """Say from when on a version is not to be deployed anew, and which one to take in its place.

        Raises:
            NotFound: there is no such version, or none that ``use`` names.
        """
        from homeostat.app.registry.reading import VersionShown

        body = {"on": _moment(on), "reason": reason, "use": use, "actor": actor}
        path = f"/models/{quote(model)}/versions/{quote(str(at))}/deprecate"
        return self._post(path, body, VersionShown, repeatable=True)

    def restore(self, model: str, at: str | int, *, reason: str = "", actor: str = "user") -> VersionShown:
        """Take a deprecation back.

        Raises:
            Conflict: the version is not deprecated.
        """
        from homeostat.app.registry.reading import VersionShown

        path = f"/models/{quote(model)}/versions/{quote(str(at))}/restore"
        return self._post(path, {"reason": reason, "actor": actor}, VersionShown)

    def card(self, model: str, at: str | int = "latest") -> Card:
        """The model card of a version: facts, and what is missing."""
        from homeostat.engine.registry.card import Card

        return self._get(f"/models/{quote(model)}/versions/{quote(str(at))}/card", Card)

    def bill_of_materials(self, model: str, at: str | int = "latest") -> bytes:
        """The CycloneDX bill of materials of a version, as JSON."""
        path = f"/models/{quote(model)}/versions/{quote(str(at))}/bom"
        return self._transport.send("GET", path, repeatable=True)


def _moment(at: datetime | str) -> datetime:
    return parse_time(at) if isinstance(at, str) else at
