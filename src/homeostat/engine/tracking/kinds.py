"""What can be searched, by which names and in which order: one ``Kind`` for each sort of thing.

Names are MLflow's; what they mean is a field of a record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from homeostat.domain.records import ModelVersion, Record, Run
from homeostat.domain.traces import Trace
from homeostat.domain.tracking import STATUSES, Experiment, LoggedModel, RegisteredModel
from homeostat.ports.search import Entity, Order

_PROMPT: Final = "mlflow.prompt.is_prompt"  # MLflow keeps prompts as registered models
ALIASES: Final[dict[str, Entity]] = {
    "attribute": "attribute",
    "attributes": "attribute",
    "attr": "attribute",
    "run": "attribute",
    "metric": "metric",
    "metrics": "metric",
    "param": "param",
    "params": "param",
    "parameter": "param",
    "parameters": "param",
    "tag": "tag",
    "tags": "tag",
    "dataset": "dataset",
    "datasets": "dataset",
}


@dataclass(frozen=True)
class Attribute:
    """A field by which things are searched.

    Args:
        field: The record's field.
        form: What its value is; a ``number`` is a whole one, a ``numeral`` one that is written as a text, a ``prompt``
            a name and a version in a list of such.
        texts: How stored texts are called by who asks, where they are called otherwise.
        entity: What has the field, where the record itself has not.
    """

    field: str
    form: Literal["text", "time", "number", "numeral", "prompt"] = "text"
    texts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    entity: Entity = "attribute"


@dataclass(frozen=True, eq=False)
class Kind:
    """A sort of thing that can be searched.

    Args:
        name: What it is called in messages.
        record: Its record class.
        attributes: By every name they have.
        entities: What else belongs to it.
        orderable: The attributes by which it can be ordered; empty: all of them.
        ordered_by: The entities by which it can be ordered.
        default: Its order when none is asked for.
        ties: What follows the order that is asked for.
        apart: A tag's key; what has it as ``true`` is found only by who asks for that.
        aliases: What the entities are called.
        shapeless: How MLflow begins to say that a filter has another form.
        incomparable: How it begins to say that a comparison is none of those that there are.
    """

    name: str
    record: type[Record]
    attributes: Mapping[str, Attribute]
    entities: frozenset[Entity]
    default: tuple[Order, ...]
    ties: tuple[Order, ...]
    orderable: Mapping[str, Attribute] = dataclasses.field(default_factory=dict)
    ordered_by: frozenset[Entity] = frozenset({"attribute"})
    apart: str = ""
    aliases: Mapping[str, Entity] = dataclasses.field(default_factory=lambda: ALIASES)
    shapeless: str = "Invalid clause(s) in filter string"
    incomparable: str = "Invalid comparator"


def _by(field: str, *, descending: bool = False) -> Order:
    return Order("attribute", field, descending)


def _names(attribute: Attribute, *names: str) -> dict[str, Attribute]:
    return dict.fromkeys(names, attribute)


_OF_RUNS: Final = (_by("started_at", descending=True), _by("id"))
_ATTRIBUTES_OF_RUNS: Final = {
    "run_id": Attribute("id"),
    "user_id": Attribute("actor"),
    "status": Attribute("state", texts=STATUSES),
    "artifact_uri": Attribute("artifacts"),
    **_names(Attribute("name"), "run_name", "run name", "Run name", "Run Name"),
    **_names(Attribute("started_at", "time"), "start_time", "created", "Created"),
    "end_time": Attribute("ended_at", "time"),
}
RUNS: Final = Kind(
    name="runs",
    record=Run,
    attributes=_ATTRIBUTES_OF_RUNS,
    entities=frozenset({"attribute", "metric", "param", "tag", "dataset"}),
    orderable=_ATTRIBUTES_OF_RUNS | {"status": Attribute("status")},
    ordered_by=frozenset({"attribute", "metric", "param", "tag"}),
    default=_OF_RUNS,
    ties=_OF_RUNS,
)
EXPERIMENTS: Final = Kind(
    name="experiments",
    record=Experiment,
    attributes={
        "name": Attribute("name"),
        "experiment_id": Attribute("id", "numeral"),
        "creation_time": Attribute("created_at", "time"),
        "last_update_time": Attribute("updated_at", "time"),
    },
    entities=frozenset({"attribute", "tag"}),
    default=(_by("created_at", descending=True), _by("id")),
    ties=(_by("id", descending=True),),
)
MODELS: Final = Kind(
    name="registered models",
    record=RegisteredModel,
    attributes={"name": Attribute("name")},
    entities=frozenset({"attribute", "tag"}),
    orderable={
        "name": Attribute("name"),
        "creation_timestamp": Attribute("created_at", "time"),
        **_names(Attribute("updated_at", "time"), "timestamp", "last_updated_timestamp"),
    },
    default=(_by("name"),),
    ties=(_by("name"),),
    apart=_PROMPT,
)
VERSIONS: Final = Kind(
    name="model versions",
    record=ModelVersion,
    attributes={
        "name": Attribute("model"),
        "version_number": Attribute("version", "number"),
        "run_id": Attribute("run"),
        "source_path": Attribute("source"),
    },
    entities=frozenset({"attribute", "tag"}),
    orderable={
        "name": Attribute("model"),
        "version_number": Attribute("version", "number"),
        "creation_timestamp": Attribute("created_at", "time"),
        "last_updated_timestamp": Attribute("updated_at", "time"),
    },
    default=(_by("updated_at", descending=True), _by("model"), _by("version", descending=True)),
    ties=(_by("model"), _by("version", descending=True)),
    apart=_PROMPT,
)
_OF_LOGGED: Final = (_by("created_at", descending=True), _by("id"))
LOGGED_MODELS: Final = Kind(
    name="logged models",
    record=LoggedModel,
    attributes={
        "name": Attribute("name"),
        "model_id": Attribute("id"),
        "model_type": Attribute("type"),
        "status": Attribute("status"),
        "source_run_id": Attribute("run"),
        **_names(Attribute("created_at", "time"), "creation_timestamp", "creation_time"),
        **_names(Attribute("updated_at", "time"), "last_updated_timestamp", "last_updated_time"),
    },
    entities=frozenset({"attribute", "metric", "param", "tag"}),
    ordered_by=frozenset({"attribute", "metric"}),
    default=_OF_LOGGED,
    ties=_OF_LOGGED,
    shapeless="Invalid filter string",
    incomparable="Invalid comparison operator",
)
_OF_TRACES: Final = (_by("began_at", descending=True), _by("id"))
_OF_TRACE: Final = {
    **_names(Attribute("began_at", "time"), "timestamp", "timestamp_ms"),
    **_names(Attribute("ended_at", "time"), "end_time", "end_time_ms"),
    **_names(Attribute("took", "number"), "execution_time", "execution_time_ms"),
    **_names(Attribute("id"), "request_id", "trace_id"),
    "name": Attribute("name"),
    "status": Attribute("state"),
}
TRACES: Final = Kind(
    name="traces",
    record=Trace,
    attributes={
        **_OF_TRACE,
        "client_request_id": Attribute("client"),
        "run_id": Attribute("run", entity="run"),
        "text": Attribute("spans", entity="text"),
        "prompt": Attribute("mlflow.linkedPrompts", "prompt", entity="tag"),
    },
    entities=frozenset(
        {
            "attribute",
            "tag",
            "metadata",
            "run",
            "span",
            "span attribute",
            "text",
            "feedback",
            "expectation",
        }
    ),
    orderable={**_OF_TRACE, "experiment_id": Attribute("experiment", "number")},
    ordered_by=frozenset({"attribute", "tag", "metadata"}),
    default=_OF_TRACES,
    ties=_OF_TRACES,
    aliases={
        "attribute": "attribute",
        "attributes": "attribute",
        "trace": "attribute",
        "tag": "tag",
        "tags": "tag",
        "metadata": "metadata",
        "request_metadata": "metadata",
        "span": "span",
        "feedback": "feedback",
        "expectation": "expectation",
    },
)
