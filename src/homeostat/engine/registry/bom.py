"""A version's bill of materials: CycloneDX 1.6 with the model, its card, its data and the packages it was made with.

Made and validated with CycloneDX's own library, which has no model card yet: that part is added to its JSON, and the
whole is validated against the standard's schema, which the library brings along.
"""

from __future__ import annotations

import uuid
from typing import Any, Final

import msgspec

from homeostat.domain.errors import HomeostatError
from homeostat.engine.registry.card import Card, performance
from homeostat.engine.registry.formats.base import need

EXTRA: Final = "bom"
_WHAT: Final = "a CycloneDX bill of materials"
_REF: Final = "model"


def cyclonedx(card: Card, *, version: str) -> bytes:
    """The bill of materials as JSON, validated.

    Args:
        card: The facts.
        version: Homeostat's own version, the tool that made it.

    Raises:
        NotInstalled: CycloneDX's library is missing.
        HomeostatError: what was made is not valid.
    """
    found = _components(card, version)
    about = found["metadata"]["component"]
    about["modelCard"] = _card(card)
    if "license" in card.statements:
        about["licenses"] = [{"license": {"name": card.statements["license"]}}]
    data = msgspec.json.format(msgspec.json.encode(found), indent=2)
    validate(data)
    return data


def validate(data: bytes) -> None:
    """Raise unless ``data`` is CycloneDX 1.6, by the schema in CycloneDX's library; nothing is fetched.

    Raises:
        HomeostatError: it is not.
        NotInstalled: CycloneDX's library is missing.
    """
    schema = need("cyclonedx.schema", EXTRA, _WHAT)
    validators = need("cyclonedx.validation.json", EXTRA, _WHAT)
    wrong = validators.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(data.decode())
    if wrong is not None:
        raise HomeostatError(
            f"the bill of materials is no CycloneDX 1.6: {str(wrong)[:500]}",
            remedy="Report it, with the model",
        )


def _components(card: Card, version: str) -> dict[str, Any]:
    """All but the model card, by the library."""
    bom = need("cyclonedx.model.bom", EXTRA, _WHAT)
    component = need("cyclonedx.model.component", EXTRA, _WHAT)
    model = need("cyclonedx.model", EXTRA, _WHAT)
    tool = need("cyclonedx.model.tool", EXTRA, _WHAT)
    output = need("cyclonedx.output.json", EXTRA, _WHAT)
    purl = need("packageurl", EXTRA, _WHAT)
    kind = component.ComponentType
    about = component.Component(
        name=card.model,
        version=str(card.version),
        type=kind.MACHINE_LEARNING_MODEL,
        bom_ref=_REF,
        description=card.description or None,
        hashes=[_hash(model, card.digest)] if card.digest else [],
        properties=[
            model.Property(name=f"homeostat:{name}", value=value)
            for name, value in (("stage", card.stage), ("digest", card.digest), ("code", card.contents.code))
            if value
        ],
    )
    files = [
        component.Component(name=name, type=kind.FILE, bom_ref=f"file/{name}", hashes=[_hash(model, digest)])
        for name, digest in sorted(card.files.items())
    ]
    data = [
        component.Component(
            name=one.ref,
            type=kind.DATA,
            bom_ref=one.ref,
            hashes=[_hash(model, one.digest)] if one.digest.startswith("sha256:") else [],
        )
        for one in card.contents.data
    ]
    packages = [
        component.Component(
            name=name,
            version=number,
            type=kind.LIBRARY,
            bom_ref=f"pypi/{name}",
            purl=purl.PackageURL(type="pypi", name=name, version=number),
        )
        for name, number in sorted(card.contents.environment.items())
        if name not in ("python", "platform")
    ]
    made = bom.Bom(
        components=[*files, *data, *packages],
        metadata=bom.BomMetaData(
            component=about,
            timestamp=card.created_at,
            tools=tool.ToolRepository(
                components=[component.Component(name="homeostat", version=version, type=kind.APPLICATION)]
            ),
        ),
        # The same version gives the same text.
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{card.ref} {card.digest}"),
    )
    made.register_dependency(about, [*files, *data, *packages])
    found: dict[str, Any] = msgspec.json.decode(output.JsonV1Dot6(made).output_as_string())
    return found


def _hash(model: Any, digest: str) -> Any:
    return model.HashType(alg=model.HashAlgorithm.SHA_256, content=digest.partition(":")[2])


def _card(card: Card) -> dict[str, Any]:
    said = {name: [text] for name, text in card.statements.items()}
    considerations: dict[str, Any] = {
        "useCases": said.get("intended_use", []),
        "technicalLimitations": [
            *card.limits,
            *(f"Not for: {text}" for text in said.get("out_of_scope", [])),
            *said.get("caveats", []),
            *(f"Missing: {one.field}, {one.what}" for one in card.missing),
        ],
        "ethicalConsiderations": [{"name": text} for text in said.get("ethical_considerations", [])],
    }
    parameters: dict[str, Any] = {
        "approach": {"type": "supervised"},
        "task": str(card.task.get("type", "")),
        "datasets": [{"ref": one.ref} for one in card.contents.data],
        "inputs": [{"format": f"{one.name}: {one.type}"} for one in card.contents.features],
        "outputs": [{"format": f"{one.name}: probability"} for one in card.contents.answers],
    }
    if not card.task:
        del parameters["task"], parameters["approach"]
    return {
        "bom-ref": f"{_REF}/card",
        "modelParameters": {name: value for name, value in parameters.items() if value},
        "quantitativeAnalysis": {"performanceMetrics": performance(card)},
        "considerations": {name: value for name, value in considerations.items() if value},
    }
