"""A model card as a page of Markdown, in the sections of Mitchell et al., 2019."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from homeostat.domain.contracts import Column
from homeostat.domain.declarations.statements import STATEMENTS
from homeostat.engine.registry.card import Card, bounds, calibration, slices

# Of an environment lock, what people look for; the lock itself is in the package.
_SHOWN: Final = (
    *("python", "platform", "homeostat", "numpy", "polars", "scipy", "scikit-learn", "skops"),
    *("xgboost", "xgboost-cpu", "lightgbm", "onnx", "onnxruntime", "torch", "safetensors"),
)


def markdown(card: Card) -> str:
    """The card as a page; what a person or an artifact said stays on its line and makes no HTML."""
    return "\n".join(_page(card)).rstrip() + "\n"


def _page(card: Card) -> Iterator[str]:
    of = card.contents
    yield f"# Model card: {_plain(card.ref)}"
    if card.deprecation:
        yield from ("", f"**{_plain(card.deprecation).capitalize()}**")
    yield from ("", _plain(card.description) or _nothing("description", "what the model is"))
    yield from _section("Model details", _table(("fact", "value"), _details(card)))
    yield from _section("Intended use", _said(card, "intended_use", "out_of_scope"))
    if card.task:
        told = ", ".join(f"{name} {_plain(str(value))}" for name, value in card.task.items())
        yield from ("", f"It answers: {told}.")
    yield from _section("Factors", _said(card, "factors"))
    numbers = [(name, f"{value:.6g}") for name, value in sorted(card.metrics.items())]
    yield from _section("Metrics", _table(("metric", "value"), numbers))
    yield from _section("Gates", _gates(card))
    data = [(one.ref, "" if one.rows is None else f"{one.rows:,}", one.digest) for one in of.data]
    yield from _section("Training data", _table(("dataset version", "rows", "digest"), data))
    yield from _section("Features", _columns(of.features))
    if of.views:
        yield from ("", "From " + ", ".join(f"`{_plain(view)}`" for view in of.views) + ".")
    yield from _section("Request and answer", _columns([*of.request, *of.answers]))
    if of.example:
        told = ", ".join(f"{name} {_plain(str(value))}" for name, value in of.example.items())
        yield from ("", f"For example: {told}.")
    promised = [f"{name}: {value}" for name, value in card.slo.items()]
    yield from _section("Service", _list([*card.serving, *promised]))
    yield from _section("Ethical considerations", _said(card, "ethical_considerations"))
    yield from _section("Caveats and limits", _said(card, "caveats"))
    yield from ("", *_list(card.limits))
    shown = [(name, of.environment[name]) for name in _SHOWN if name in of.environment]
    yield from _section("Environment", _table(("what", "version"), shown))
    yield from _section("Lineage", _list([f"`{ref}`" for ref in card.lineage]))
    missing = [f"**{one.field}**: {one.what}. {one.remedy}." for one in card.missing]
    yield from _section("Missing", _list(missing) if missing else ["Nothing."])


def _details(card: Card) -> list[tuple[str, str]]:
    details = [
        ("version", card.ref),
        ("digest", card.digest),
        ("stage", f"{card.stage}: {card.stage_reason}" if card.stage_reason else card.stage),
        ("aliases", ", ".join(card.aliases)),
        ("made", f"{card.created_at:%Y-%m-%d %H:%M} UTC"),
        ("run", card.contents.run),
        *((name.replace("_", " "), str(value)) for name, value in card.training.items()),
        ("parameters", ", ".join(f"{name}={value}" for name, value in sorted(card.contents.params.items()))),
        ("code", card.contents.code),
        ("environment lock", card.contents.lock),
        ("owner", card.statements.get("owner", "")),
        ("licence", card.statements.get("license", "")),
        ("tags", ", ".join(f"{name}={value}" for name, value in sorted(card.tags.items()))),
        *(("signed by key", key) for key in card.signed_by),
        *(("approved", f"{one.actor}, {one.at:%Y-%m-%d}: {one.reason}") for one in card.approvals),
    ]
    return [fact for fact in details if fact[1]]


def _gates(card: Card) -> Iterator[str]:
    verdicts = [(one.gate, "passed" if one.passed else "failed", one.reason) for one in card.gates]
    yield from _table(("gate", "verdict", "because"), verdicts)
    for gate in slices(card):
        rows: dict[str, Any] = gate.evidence.get("rows", {})
        values = [(name, f"{v:.6g}", str(rows.get(name, ""))) for name, v in gate.evidence["slices"].items()]
        yield from ("", f"### {_plain(gate.gate)}", "", *_table(("slice", "value", "rows"), values))
    for gate in calibration(card):
        bins = [
            (f"{one['predicted']:.4f}", f"{one['observed']:.4f}", str(one["count"]))
            for one in gate.evidence["reliability"]
        ]
        yield from ("", f"### {_plain(gate.gate)}", "", *_table(("predicted", "observed", "rows"), bins))


def _columns(columns: Sequence[Column]) -> Iterator[str]:
    rows = [
        (one.name, one.type, one.unit or "", bounds(one), "yes" if one.nullable else "no") for one in columns
    ]
    return _table(("column", "type", "unit", "values", "may be missing"), rows)


def _section(title: str, lines: Iterator[str] | Sequence[str]) -> tuple[str, ...]:
    return ("", f"## {title}", "", *lines)


def _said(card: Card, *names: str) -> Iterator[str]:
    for number, name in enumerate(names):
        said = _plain(card.statements.get(name, "")) or _nothing(name, STATEMENTS[name])
        yield from ([""] if number else [])
        yield f"**{name.replace('_', ' ').capitalize()}.** {said}"


def _nothing(name: str, what: str) -> str:
    return f"*{name.replace('_', ' ')} is missing: {what}*"


def _list(items: Sequence[str]) -> Iterator[str]:
    yield from (f"- {_plain(item)}" for item in items) if items else ("*nothing recorded*",)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        yield "*nothing recorded*"
        return
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_plain(cell).replace('|', chr(92) + '|') for cell in row)} |"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")
