"""Model cards (Mitchell et al., 2019, https://doi.org/10.1145/3287560.3287596): what is known of a version.

A card holds facts, which the loop recorded, and what only people can say: in the project, ``hs.Model(…, card={…})``, or
in tags ``card.…``. What is missing is listed and says how to supply it: an empty section never reads as "none".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from homeostat.domain.contracts import Column
from homeostat.domain.declarations.statements import STATEMENTS
from homeostat.domain.metrics import METRICS
from homeostat.engine.registry.contents import Contents
from homeostat.engine.registry.gates import Verdict

TAG: Final = "card."


class Consent(msgspec.Struct, frozen=True, kw_only=True):
    """Who agreed to the version."""

    actor: str
    at: datetime
    reason: str


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the card does not say, and how to make it."""

    field: str
    what: str
    remedy: str


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about one version."""

    model: str
    version: int
    ref: str
    digest: str
    stage: str
    stage_reason: str = ""
    created_at: datetime
    description: str = ""
    task: dict[str, Any] = {}
    aliases: list[str] = []
    tags: dict[str, str] = {}
    deprecation: str = ""
    statements: dict[str, str] = {}
    training: dict[str, Any] = {}
    contents: Contents = Contents()
    metrics: dict[str, float] = {}
    gates: list[Verdict] = []
    approvals: list[Consent] = []
    signed_by: list[str] = []
    files: dict[str, str] = {}
    lineage: list[str] = []
    serving: list[str] = []
    slo: dict[str, Any] = {}
    limits: list[str] = []
    missing: list[Missing] = []


def statements(*said: Mapping[str, str]) -> dict[str, str]:
    """What people say, by the section's name; the later word stands over the earlier one."""
    merged = {name: text.strip() for one in said for name, text in one.items() if text.strip()}
    return {name: merged[name] for name in STATEMENTS if name in merged}


def tagged(tags: Mapping[str, str]) -> dict[str, str]:
    """What tags say, by the section's name."""
    return {name.removeprefix(TAG): text for name, text in tags.items() if name.startswith(TAG)}


def limits(card: Card) -> list[str]:
    """What follows from the facts about where the model can be relied on."""
    return list(_limits(card))


def _limits(card: Card) -> Iterator[str]:
    until = card.training.get("data_until")
    if until:
        yield f"It learnt from labels that were known by {until}; what changed since then it has not seen."
    for column in card.contents.request:
        if wanted := bounds(column):
            yield f"Requests whose {column.name} is not {wanted} are refused."
    for gate in card.gates:
        skipped = gate.evidence.get("skipped") or {}
        if skipped:
            listed = ", ".join(f"{name} ({why})" for name, why in sorted(skipped.items()))
            yield f"Not judged by the gate {gate.gate!r}: {listed}."
        if not gate.passed:
            yield f"It does not pass the gate {gate.gate!r}: {gate.reason}."
    rate = card.metrics.get("train_base_rate")
    if rate is not None and not 0.1 <= rate <= 0.9:
        yield f"The classes are uneven: {rate:.1%} of its training rows are positive."


def bounds(column: Column) -> str:
    """Which values a column may hold, in words; empty: any."""
    parts = [
        f"{word} {value:g}"
        for word, value in (
            ("at least", column.ge),
            ("more than", column.gt),
            ("at most", column.le),
            ("less than", column.lt),
        )
        if value is not None
    ]
    if column.choices:
        shown = ", ".join(map(str, column.choices[:10]))
        parts.append(f"one of {shown}" + (", …" if len(column.choices) > 10 else ""))
    return " and ".join(parts)


def missing(card: Card) -> list[Missing]:
    """What the card does not say."""
    return list(_missing(card))


def _missing(card: Card) -> Iterator[Missing]:
    if not card.description:
        remedy = "Describe the model or the version in the registry"
        yield Missing(field="description", what="what the model is", remedy=remedy)
    for name, what in STATEMENTS.items():
        if name not in card.statements:
            yield Missing(
                field=name,
                what=what,
                remedy=f'Say it in the project, hs.Model(…, card={{"{name}": …}}), or in a tag {TAG}{name}',
            )
    facts: tuple[tuple[str, Any, str, str], ...] = (
        ("data", card.contents.data, "which data it learnt from", "Train it with Homeostat"),
        (
            "features",
            card.contents.features,
            "which columns it takes",
            "Train it with Homeostat, or log a signature",
        ),
        (
            "example",
            card.contents.example,
            "what a request looks like",
            "Train it with Homeostat, or log an example",
        ),
        ("metrics", card.metrics, "how good it is", "Train it with Homeostat, or log metrics to its run"),
        ("gates", card.gates, "whether anything judged it", "Declare gates: hs.Model(…, gates=[…])"),
        ("code", card.contents.code, "which code made it", "Train it with Homeostat"),
        ("environment", card.contents.environment, "what it was trained with", "Train it with Homeostat"),
        ("slices", slices(card), "how good it is on parts of the data", "Declare hs.worst_slice(…)"),
        ("calibration", calibration(card), "whether its scores are frequencies", "Declare hs.calibrated(…)"),
        ("slo", card.slo, "what its service promises", "Declare hs.SLO(…)"),
    )
    for field, known, what, remedy in facts:
        if not known:
            yield Missing(field=field, what=what, remedy=remedy)


def slices(card: Card) -> list[Verdict]:
    """The gates that looked at parts of the data."""
    return [gate for gate in card.gates if gate.evidence.get("slices")]


def calibration(card: Card) -> list[Verdict]:
    """The gates that compared scores with what came."""
    return [gate for gate in card.gates if gate.evidence.get("reliability")]


def performance(card: Card) -> list[dict[str, str]]:
    """Every measured number as CycloneDX has it: type, value, and the slice it is about."""
    found = [{"type": name, "value": f"{value:.6g}"} for name, value in sorted(card.metrics.items())]
    for gate in card.gates:
        metric = next((name for name in METRICS if name in gate.gate), gate.gate)
        for name, value in (gate.evidence.get("slices") or {}).items():
            found.append({"type": metric, "value": f"{value:.6g}", "slice": str(name)})
    return found
