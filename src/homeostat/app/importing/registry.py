"""Registered models on their way in: with their versions, numbers, labels and aliases, each in one transaction."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

import msgspec

from homeostat.app.artifacts import content, find
from homeostat.app.container import Container
from homeostat.app.importing.naming import kept, others, renamed
from homeostat.app.importing.summary import Summary
from homeostat.app.registry.models import REGISTERED
from homeostat.app.registry.pointers import move_alias
from homeostat.app.registry.versions import CREATED
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.events import Edge, Event
from homeostat.domain.records import Alias, Deployment, ModelVersion, Run
from homeostat.domain.refs import Ref
from homeostat.domain.tracking import Experiment, LoggedModel, ModelTag, RegisteredModel
from homeostat.engine.registry import names, package, sources
from homeostat.engine.tracking.places import here, run_root
from homeostat.ports.meta import Reads, Transaction
from homeostat.ports.sources import Missing, SourceModel, SourceVersion

_LOGGED: Final = re.compile(r"/models/(?P<id>m-[\w-]+)/artifacts(?P<rest>/.*)?$")
_RUN: Final = re.compile(r"/(?P<id>[A-Za-z0-9][\w-]*)/artifacts(?P<rest>/.*)?$")


def bring_model(container: Container, given: SourceModel, summary: Summary) -> None:
    """Bring a registered model, or what one that is here lacks.

    A version that is here under the same number and is another one stays, and that is told.

    Raises:
        HomeostatError: the name cannot be, or the store does not take it; nothing of it is visible then.
    """
    name = kept(given.model.name)
    names.check_model_name(name)
    bring = _Bringing(container, given, name, summary)
    if summary.dry_run:
        bring.look()
    else:
        bring.unite()
        with container.store.begin() as tx:
            bring.write(tx)
    bring.count()
    summary.tell_all(given.missing)


class _Bringing:
    """One registered model, compared with what is here."""

    def __init__(self, container: Container, given: SourceModel, name: str, summary: Summary) -> None:
        self._container, self._given, self._name, self._summary = container, given, name, summary
        self._new = False
        self._refused: set[int] = set()
        self._apart: set[int] = set()
        self._versions: list[SourceVersion] = []
        self._tags: list[ModelTag] = []
        self._aliases: dict[str, int] = {}

    def look(self) -> None:
        """Find out what is lacking."""
        self._compare(self._container.store)

    def unite(self) -> None:
        """Put the packages of versions together again from the files of their logged models, which came before."""
        there = {
            found.version for found in self._container.store.find(ModelVersion, ("model", "=", self._name))
        }
        for found in self._given.versions:
            given = found.version
            if given.manifest and given.version not in there and not self._united(given):
                self._apart.add(given.version)

    def _united(self, given: ModelVersion) -> bool:
        blobs, model = self._container.blobs, self._container.store.get(LoggedModel, given.logged_model)
        folder = here(model.artifacts) if model is not None else ""
        files = given.manifest.get("files")
        if not folder or not isinstance(files, dict) or package.digest(given.manifest) != given.digest:
            return False
        for path, digest in files.items():
            try:
                data = b"" if path.endswith("/") else self._content(f"{folder}/{path}")
            except (NotFound, BadRequest):
                return False
            if blobs.put(data) != digest:
                return False
        return True

    def _content(self, path: str) -> bytes:
        return b"".join(content(self._container, find(self._container, path)))

    def write(self, tx: Transaction) -> None:
        """Write what is lacking."""
        there = tx.lock(RegisteredModel, self._name)
        self._compare(tx)
        if self._new:
            there = msgspec.structs.replace(self._given.model, name=self._name, versions=0, latest={})
            tx.insert(there)
            self._tell(tx, REGISTERED, Ref("model", self._name), {})
        for found in self._versions:
            self._write_version(tx, found)
        if there is not None and (self._new or self._versions):
            greatest = max([there.versions, self._given.model.versions, *self._numbers()])
            tx.put(msgspec.structs.replace(there, versions=greatest, latest=self._newest(tx)))
        tx.put(*self._tags)
        for alias, number in self._aliases.items():
            why = f"imported from {self._summary.source}"
            move_alias(tx, self._container, self._name, alias, number, actor="user", reason=why)

    def count(self) -> None:
        """Count what was done, or would be."""
        for _ in self._versions:
            self._summary.versions.add("new")
        for _ in range(len(self._given.versions) - len(self._versions) - len(self._refused)):
            self._summary.versions.add("same")
        lacking = self._versions or self._tags or self._aliases
        self._summary.models.add("new" if self._new else "completed" if lacking else "same")

    def _compare(self, reads: Reads) -> None:
        name = self._name
        model = reads.get(RegisteredModel, name)
        self._new = model is None
        if model is not None:
            self._compare_words(self._given.model, model, "it")
        there = {found.version: found for found in reads.find(ModelVersion, ("model", "=", name))}
        for found in self._given.versions:
            other = there.get(found.version.version)
            if other is None:
                self._versions.append(found)
            elif other.created_at != found.version.created_at:
                self._refused.add(other.version)
                self._miss(f"version {other.version} is another one here")
            else:
                self._compare_words(found.version, other, f"version {other.version}")
                if other.stage == "registered" and other.label != self._label(found.version.label):
                    self._miss(f"version {other.version} is in stage {other.label} here")
        self._compare_tags(reads)
        for alias, number in self._given.aliases.items():
            self._compare_alias(reads, alias, number)

    def _compare_tags(self, reads: Reads) -> None:
        known: dict[int, dict[str, str]] = {}
        for tag in reads.find(ModelTag, ("model", "=", self._name)):
            known.setdefault(tag.version, {})[tag.key] = tag.value
        of = [(0, self._given.tags), *((found.version.version, found.tags) for found in self._given.versions)]
        for number, given in of:
            if number in self._refused:
                continue
            tags, there = renamed(given, "tag", self._given.missing), known.get(number, {})
            for key, value in tags.items():
                if key not in there:
                    self._tags.append(ModelTag(model=self._name, version=number, key=key, value=value))
            for told in others(tags, there, f"version {number}: tag" if number else "tag"):
                self._miss(told)

    def _compare_words(
        self, given: RegisteredModel | ModelVersion, there: RegisteredModel | ModelVersion, what: str
    ) -> None:
        if kept(given.description) != there.description:
            self._miss(f"{what} has another description here")

    def _compare_alias(self, reads: Reads, alias: str, number: int) -> None:
        there = reads.get(Alias, self._name, alias)
        known = {found.version.version for found in self._given.versions}
        try:
            names.check_settable(alias)
        except BadRequest as error:
            self._miss(f"alias {alias}: {error.message}")
            return
        if there is not None:
            if there.version != number:
                self._miss(f"alias {alias} points to version {there.version} here")
        elif number in self._refused or number not in known:
            self._miss(f"alias {alias}: its version {number} is not here")
        elif alias == names.CHAMPION and reads.get(Deployment, self._name) is not None:
            self._miss(f"alias {alias} says what the deployment of this name serves, and was not set")
        else:
            self._aliases[alias] = number

    def _write_version(self, tx: Transaction, found: SourceVersion) -> None:
        given = found.version
        source, location, logged = self._settled(tx, given)
        if given.version in self._apart:
            self._miss(f"the package of version {given.version} did not come whole: what came are files")
            given = msgspec.structs.replace(given, digest="", manifest={})
        made = msgspec.structs.replace(
            given,
            model=self._name,
            stage="registered",
            source=source,
            location=location,
            logged_model=logged,
            label=self._label(given.label),
            description=kept(given.description),
        )
        tx.insert(made)
        ref = str(Ref("model", self._name).at(made.version))
        known = made.run and tx.get(Run, made.run) is not None
        body = {"source": made.source, "run": made.run, "logged_model": made.logged_model}
        edges = (Edge(f"run/{made.run}", ref, "produced"),) if known else ()
        self._tell(tx, CREATED, Ref("model", self._name).at(made.version), body, edges)

    def _settled(self, tx: Transaction, given: ModelVersion) -> tuple[str, str, str]:
        """Source, location and logged model of a version, where its files came along: where they are now."""
        logged = given.logged_model
        if (named := _named(given.source)) is not None and named.logged:
            logged = logged or named.logged
        source, location = self._moved(tx, given.source), self._moved(tx, given.location)
        if logged and (model := tx.get(LoggedModel, logged)) is not None:
            location = model.artifacts if named is not None else location
        elif sources.is_local(source) and source not in sources.PROMPTS:
            self._miss(f"the files of version {given.version} stay at {source}")
        return source, "" if location == source else location, logged

    def _moved(self, tx: Transaction, uri: str) -> str:
        """Where files are now that another tracker had in a run or a logged model."""
        if uri.startswith(("runs:", "models:")):
            return uri
        path = unquote(uri)
        if (found := _LOGGED.search(path)) and (model := tx.get(LoggedModel, found["id"])) is not None:
            return model.artifacts + (found["rest"] or "")
        if (found := _RUN.search(path)) and (run := tx.get(Run, found["id"])) is not None:
            experiment = tx.get(Experiment, run.experiment)
            if experiment is not None:
                return run_root(experiment.artifacts, run.id) + (found["rest"] or "")
        return uri

    def _label(self, text: str) -> str:
        try:
            return names.label_of(text)
        except BadRequest:
            self._miss(f"stage {text!r} is none")
            return names.UNLABELLED

    def _newest(self, tx: Transaction) -> dict[str, int]:
        found: dict[str, int] = {}
        for version in tx.find(ModelVersion, ("model", "=", self._name), order=["version"]):
            found[version.label] = version.version
        return found

    def _numbers(self) -> list[int]:
        return [found.version.version for found in self._versions]

    def _miss(self, reason: str) -> None:
        self._given.missing.append(Missing(f"model {self._name}", reason))

    def _tell(
        self, tx: Transaction, kind: str, ref: Ref, body: dict[str, str], edges: tuple[Edge, ...] = ()
    ) -> None:
        told = {key: value for key, value in body.items() if value} | {"imported": self._summary.source}
        now = self._container.clock.now()
        tx.append(Event(kind=kind, subject=str(ref), at=now, actor="user", body=told, edges=edges))


def _named(source: str) -> sources.Registered | None:
    try:
        return sources.registered_of(source)
    except BadRequest:
        return None
