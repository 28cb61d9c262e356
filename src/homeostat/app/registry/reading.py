"""Registered models and versions as they are shown: with their tags, their aliases, and the newest of each label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from homeostat.domain.errors import NotFound
from homeostat.domain.records import Alias, Deprecation, GateResult, ModelVersion
from homeostat.domain.refs import Ref, number_of
from homeostat.domain.tracking import ModelTag, RegisteredModel
from homeostat.engine.registry import names
from homeostat.engine.registry.contents import Contents
from homeostat.ports.meta import Reads, Where

T = TypeVar("T")
_AT_ONCE: Final = 1000  # what a statement compares with, below the number of parameters that a database takes


@dataclass
class VersionShown:
    """A model version, the tags on it, the aliases that point to it, and from when on it is not to be deployed."""

    record: ModelVersion
    tags: dict[str, str] = field(default_factory=dict)
    aliases: list[str] = field(default_factory=list)
    deprecation: Deprecation | None = None
    contents: Contents | None = None  # where one version was asked for


@dataclass
class ModelShown:
    """A registered model; ``aliases`` are versions by alias, ``latest`` is the newest version of each label.

    ``deprecated`` says from when on which versions are not to be deployed.
    """

    record: RegisteredModel
    tags: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    latest: list[VersionShown] = field(default_factory=list)
    deprecated: dict[int, Deprecation] = field(default_factory=dict)


def model(reads: Reads, name: str) -> ModelShown:
    """A registered model.

    Raises:
        NotFound: there is none of this name.
        BadRequest: no model can have this name.
    """
    names.check_model_name(name)
    found = reads.get(RegisteredModel, name)
    if found is None:
        raise no_model(name)
    return show_models(reads, [found])[0]


def version(reads: Reads, name: str, number: int) -> VersionShown:
    """A model version.

    Raises:
        NotFound: there is none.
        BadRequest: no model can have this name.
    """
    names.check_model_name(name)
    found = reads.get(ModelVersion, name, number)
    if found is None:
        raise no_version(name, number)
    return show_versions(reads, [found])[0]


def by_alias(reads: Reads, name: str, alias: str) -> VersionShown | None:
    """The version that an alias points to; ``latest`` is the newest one. None where it points to nothing.

    Raises:
        NotFound: there is no such model.
        BadRequest: no model or alias can have this name.
    """
    names.check_model_name(name)
    names.check_alias(alias)
    found = reads.get(RegisteredModel, name)
    if found is None:
        raise no_model(name)
    if alias.lower() == names.LATEST:
        number = max(found.latest.values(), default=None)
    else:
        pointer = reads.get(Alias, name, alias)
        number = pointer.version if pointer else None
    return version(reads, name, number) if number is not None else None


def resolve(reads: Reads, name: str, at: str = "") -> VersionShown:
    """The version with a number, or that an alias points to, or the newest one.

    Args:
        reads: The store.
        name: The registered model.
        at: A number or an alias; empty: the newest.

    Raises:
        NotFound: there is no such model or version, or the alias points to nothing.
    """
    if (number := number_of(at)) is not None:
        return version(reads, name, number)
    found = by_alias(reads, name, at or names.LATEST)
    if found is None:
        raise NotFound(
            f"{Ref('model', name).at(at or names.LATEST)} points to nothing",
            remedy=f"homeostat models show {name} lists versions and aliases",
        )
    return found


def versions(reads: Reads, name: str, *, limit: int) -> list[VersionShown]:
    """The newest versions of a model, the newest first."""
    return show_versions(
        reads, reads.find(ModelVersion, ("model", "=", name), order=["-version"], limit=limit)
    )


def records_of(reads: Reads, name: str) -> list[ModelVersion]:
    """All versions of a model as they are kept, the newest first.

    Raises:
        NotFound: there is no such model.
    """
    found = reads.find(ModelVersion, ("model", "=", name), order=["-version"])
    if not found:
        model(reads, name)
    return found


def verdicts(reads: Reads, name: str, number: int) -> list[GateResult]:
    """What each gate said of a version; nothing where none was asked.

    Raises:
        NotFound: there is no such version.
    """
    found = reads.find(GateResult, ("model", "=", name), ("version", "=", number))
    if not found:
        version(reads, name, number)
    return found


def latest(reads: Reads, name: str, labels: Sequence[str] = ()) -> list[VersionShown]:
    """The newest version of each label, or of these.

    Raises:
        NotFound: there is no such model.
        BadRequest: there is no such label.
    """
    found = model(reads, name).latest
    wanted = set(map(names.label_of, labels)) or set(names.LABELS)
    return [shown for shown in found if shown.record.label in wanted]


def show_models(reads: Reads, found: Sequence[RegisteredModel]) -> list[ModelShown]:
    """Registered models with what belongs to them, in few statements."""
    shown = {record.name: ModelShown(record) for record in found}
    newest: list[ModelVersion] = []
    for some in _parts(found):
        by_name = [record.name for record in some]
        numbers = [(record.name, number) for record in some for number in record.latest.values()]
        for tag in reads.find(ModelTag, ("model", "in", by_name), ("version", "=", 0)):
            shown[tag.model].tags[tag.key] = tag.value
        for these in _these(numbers):
            newest += reads.find(ModelVersion, *these)
        for pointer in reads.find(Alias, ("model", "in", by_name)):
            shown[pointer.model].aliases[pointer.alias] = pointer.version
        for said in reads.find(Deprecation, ("model", "in", by_name), order=["version"]):
            shown[said.model].deprecated[said.version] = said
    for one in show_versions(reads, newest):
        shown[one.record.model].latest.append(one)
    return list(shown.values())


def show_versions(reads: Reads, found: Sequence[ModelVersion]) -> list[VersionShown]:
    """Versions with what belongs to them, in few statements."""
    shown = {(record.model, record.version): VersionShown(record) for record in found}
    for these in _these(list(shown)):
        for tag in reads.find(ModelTag, *these):
            shown[tag.model, tag.version].tags[tag.key] = tag.value
    for some in _parts(sorted({record.model for record in found})):
        for pointer in reads.find(Alias, ("model", "in", some)):  # of a model there are few
            if (one := shown.get((pointer.model, pointer.version))) is not None:
                one.aliases.append(pointer.alias)
        for said in reads.find(Deprecation, ("model", "in", some)):
            if (one := shown.get((said.model, said.version))) is not None:
                one.deprecation = said
    return list(shown.values())


def no_model(name: str) -> NotFound:
    """The error for a registered model that is not there."""
    return NotFound(f"Registered Model with name={name} not found", remedy="homeostat models ls lists them")


def no_version(name: str, number: int) -> NotFound:
    """The error for a version that is not there, or no longer."""
    return NotFound(
        f"Model Version (name={name}, version={number}) not found",
        remedy=f"homeostat models show {name} lists its versions and aliases",
    )


def _these(keys: Sequence[tuple[str, int]]) -> Iterator[list[Where]]:
    """Conditions for versions by model and number, as few as may be: all of a model, or all of a number, at once."""
    by_model: defaultdict[str, list[int]] = defaultdict(list)
    by_number: defaultdict[int, list[str]] = defaultdict(list)
    for model, number in keys:
        by_model[model].append(number)
        by_number[number].append(model)
    if len(by_model) <= len(by_number):
        for model, numbers in by_model.items():
            for part in _parts(numbers):
                yield [("model", "=", model), ("version", "in", part)]
    else:
        for number, models in by_number.items():
            for some in _parts(models):
                yield [("version", "=", number), ("model", "in", some)]


def _parts(found: Sequence[T]) -> Iterator[Sequence[T]]:
    return (found[start : start + _AT_ONCE] for start in range(0, len(found), _AT_ONCE))
