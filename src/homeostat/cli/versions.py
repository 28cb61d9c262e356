"""How one version is shown: what the registry knows of it, what it is made of, and what it takes and gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from homeostat.cli.output import moment, number, print_table
from homeostat.domain.refs import Ref

if TYPE_CHECKING:
    from homeostat.app.registry.reading import VersionShown
    from homeostat.engine.registry.contents import Contents

_SHORT = 60


def show_version(found: VersionShown) -> None:
    """Print a version."""
    from homeostat.app.registry.deprecation import told

    record, of = found.record, found.contents
    facts: list[list[Any]] = [
        ["stage", f"{record.stage}: {record.stage_reason}" if record.stage_reason else record.stage],
        ["deprecated", told(found.deprecation).removeprefix("deprecated ") if found.deprecation else ""],
        ["label", record.label if record.label != "None" else ""],
        ["aliases", ", ".join(sorted(found.aliases))],
        ["run", f"run/{record.run}" if record.run else ""],
        ["source", record.source],
        ["digest", record.digest],
        ["created", moment(record.created_at)],
        ["description", record.description],
        ["tags", tags(found.tags)],
        *(_made_of(of) if of else ()),
        *([name, number(value)] for name, value in sorted((of.metrics if of else record.metrics).items())),
    ]
    title = str(Ref("model", record.model).at(record.version))
    print_table(["", title], [fact for fact in facts if fact[1]])
    columns = list(_columns(of)) if of else []
    if columns:
        print_table(["", "column", "type", "unit", "values", "may be missing"], columns)


def tags(found: dict[str, str]) -> str:
    """Tags on one line."""
    return ", ".join(f"{key}={short(value)}" for key, value in sorted(found.items()))


def short(text: str) -> str:
    """The beginning of a text's first line."""
    first = text.partition("\n")[0]
    return first if len(first) <= _SHORT else f"{first[: _SHORT - 1]}…"


def _made_of(of: Contents) -> Iterator[list[Any]]:
    yield ["kept as", of.kept_as]
    yield ["data", ", ".join(one.ref for one in of.data)]
    yield ["feature views", ", ".join(of.views)]
    yield ["code", of.code]
    python = of.environment.get("python", "").partition(" ")[0]
    packages = len(of.environment.keys() - {"python", "platform"})
    told = ", ".join(filter(None, [f"Python {python}" if python else "", f"{packages} packages", of.lock]))
    yield ["environment", told if of.environment else ""]
    yield ["as ONNX", of.conversion.get("reason", "")]
    yield ["parameters", ", ".join(f"{name}={value}" for name, value in sorted(of.params.items()))]
    yield ["example", ", ".join(f"{name}={short(str(value))}" for name, value in of.example.items())]
    yield ["shapes", ", ".join(f"{name} {_shape(shape)}" for name, shape in of.shapes.items())]


def _shape(shape: list[int]) -> str:
    sizes = ["n" if size < 0 else str(size) for size in shape]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def _columns(of: Contents) -> Iterator[list[Any]]:
    from homeostat.engine.registry.card import bounds

    for side, columns in (("request", of.request), ("feature", of.features), ("answer", of.answers)):
        for one in columns:
            yield [side, one.name, one.type, one.unit, bounds(one), "yes" if one.nullable else ""]
