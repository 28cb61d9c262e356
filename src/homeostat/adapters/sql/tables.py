"""The tables: one for each record class, its columns read off the class, and three for the ledger.

The class says which columns there are; this module says how each type of field is kept, what the tables are
called and which indexes they have. A change here or in a record needs a migration: a test compares the two.
"""

from __future__ import annotations

import types
from datetime import datetime
from typing import Any, Final, Literal, Union, get_args, get_origin

import msgspec
from sqlalchemy import Column, ForeignKey, Index, MetaData, Table

from homeostat.adapters.sql.columns import Flag, Json, Kept, Moment, Payload, Real, Whole, Words
from homeostat.domain import records, traces, tracking, trials
from homeostat.domain.events import Edge
from homeostat.domain.records import Record

metadata: Final = MetaData()
TABLES: Final[dict[type[Record], Table]] = {}

_KEPT: Final[dict[Any, type[Kept]]] = {
    str: Words,
    int: Whole,
    float: Real,
    bool: Flag,
    bytes: Payload,
    datetime: Moment,
}


def _column(field: str, hint: Any, *, label: str, key: bool) -> Column[Any]:
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    nullable = types.NoneType in parts
    rest = [part for part in parts if part is not types.NoneType]
    plain = str if get_origin(rest[0]) is Literal else rest[0]
    name = f"{label}.{field}"
    kept = _KEPT[plain](name) if len(rest) == 1 and plain in _KEPT else Json(name, hint)
    return Column(field, kept, primary_key=key, nullable=nullable, autoincrement=False)


def _table(kind: type[Record], name: str, *indexes: str, small: bool = False) -> None:
    """Declare the table of ``kind``; each index is a text of field names, one with ``!`` before it is unique.

    Small rows that are read by the beginning of their key are kept in its order, which saves SQLite an index.
    """
    columns = [
        _column(field.name, field.type, label=kind.__name__, key=field.name in kind.KEY)
        for field in msgspec.structs.fields(kind)
    ]
    table = Table(name, metadata, *columns, sqlite_with_rowid=not small)
    for index in indexes:
        fields = index.removeprefix("!").split()
        Index(
            f"ix_{name}_{'_'.join(fields)}",
            *(table.c[field] for field in fields),
            unique=index.startswith("!"),
        )
    TABLES[kind] = table


_table(records.Project, "projects")
_table(records.Dataset, "datasets")
_table(records.Batch, "batches")
_table(records.Token, "tokens")
_table(records.DatasetVersion, "dataset_versions")
_table(records.Quarantined, "quarantined", "dataset at")
_table(records.FeatureView, "feature_views")
_table(records.Run, "runs", "state", "model created_at", "experiment deleted_at started_at id")
_table(records.ModelVersion, "model_versions", "run", "stage", "updated_at")
_table(records.GateResult, "gate_results")
_table(records.Approval, "approvals")
_table(records.Signature, "signatures")
_table(records.Deprecation, "deprecations")
_table(records.Alias, "aliases")
_table(records.Deployment, "deployments", "model")
_table(records.Rollout, "rollouts", "deployment state")
_table(trials.Trial, "trials", "deployment state", "deployment digest")
_table(trials.Probation, "probations")
_table(records.Window, "windows", "deployment end")
_table(records.Tally, "tallies")
_table(records.Tallied, "tallied")
_table(records.Usage, "usage")
_table(records.Alert, "alerts", "key state", "state opened_at", "candidate")
_table(records.Silence, "silences", "state")
_table(records.Delivery, "deliveries", "channel state sent_at", "alert")
_table(records.Freeze, "freezes")
_table(records.Message, "messages", "type at")
_table(records.Reaction, "reactions")
_table(records.Evaluation, "evaluations", "trigger at", "trigger rule at")
_table(records.StepExecution, "step_executions", "key", "pipeline began_at", "state")
_table(records.Lease, "leases", "role")
_table(records.Cursor, "cursors")
_table(tracking.Experiment, "experiments", "!name", "updated_at")
_table(tracking.ExperimentTag, "experiment_tags", small=True)
_table(tracking.Param, "params", small=True)
_table(tracking.RunTag, "run_tags", small=True)
_table(tracking.Metric, "metrics", "experiment key value", small=True)
_table(tracking.MetricBlock, "metric_blocks")
_table(tracking.RunStream, "run_streams")
_table(tracking.RunInput, "run_inputs", "name digest")
_table(tracking.ArtifactFile, "artifact_files")
_table(tracking.RegisteredModel, "registered_models", "updated_at")
_table(tracking.ModelTag, "model_tags", small=True)
_table(tracking.LoggedModel, "logged_models", "experiment created_at", "run")
_table(tracking.LoggedModelTag, "logged_model_tags", small=True)
_table(tracking.LoggedModelParam, "logged_model_params", small=True)
_table(tracking.LoggedModelMetric, "logged_model_metrics", "key value", small=True)
_table(tracking.RunModel, "run_models", "model", small=True)
_table(traces.Trace, "traces", "experiment began_at id")
_table(traces.TraceTag, "trace_tags", small=True)
_table(traces.TraceMetadata, "trace_metadata")
_table(traces.TraceRun, "trace_runs", "trace", small=True)
_table(traces.SpanBlock, "span_blocks")
_table(traces.SpanKind, "span_kinds", small=True)
_table(traces.Assessment, "assessments")

events: Final = Table(
    "events",
    metadata,
    Column("seq", Whole("Event.seq"), primary_key=True, autoincrement=False),
    Column("kind", Words("Event.kind"), nullable=False),
    Column("subject", Words("Event.subject"), nullable=False),
    Column("at", Moment("Event.at"), nullable=False),
    Column("actor", Words("Event.actor"), nullable=False),
    Column("body", Json("Event.body", dict[str, Any]), nullable=False),
    Column("edges", Json("Event.edges", tuple[Edge, ...]), nullable=False),
    Column("previous", Words("Event.previous"), nullable=False),
    Column("hash", Words("Event.hash"), nullable=False),
    Index("ix_events_subject_seq", "subject", "seq"),
    Index("ix_events_kind_seq", "kind", "seq"),
)

# The edges of events once more, to be found from either end.
edges: Final = Table(
    "edges",
    metadata,
    Column("seq", Whole("Edge.seq"), ForeignKey("events.seq"), primary_key=True, autoincrement=False),
    Column("source", Words("Edge.source"), primary_key=True),
    Column("target", Words("Edge.target"), primary_key=True),
    Column("role", Words("Edge.role"), primary_key=True),
    Index("ix_edges_source", "source"),
    Index("ix_edges_target", "target"),
)

# One row, id 1: where the chain ends. Without it the newest events could be removed unseen.
ledger_head: Final = Table(
    "ledger_head",
    metadata,
    Column("id", Whole("Head.id"), primary_key=True, autoincrement=False),
    Column("seq", Whole("Head.seq"), nullable=False),
    Column("hash", Words("Head.hash"), nullable=False),
)
