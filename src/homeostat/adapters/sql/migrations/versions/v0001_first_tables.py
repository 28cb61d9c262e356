"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# Texts sort by code point on both dialects, whatever the locale of a PostgreSQL database.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
# In SQLite an INTEGER primary key is the row's own number.
INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _column(name: str, kept: Any, *, key: bool = False, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kept, primary_key=key, nullable=null, autoincrement=False)


def text(name: str, **options: bool) -> sa.Column[Any]:
    """A text, or a value as JSON."""
    return _column(name, TEXT, **options)


def integer(name: str, **options: bool) -> sa.Column[Any]:
    """An integer of 64 bits."""
    return _column(name, INTEGER, **options)


def moment(name: str, **options: bool) -> sa.Column[Any]:
    """A time in microseconds since 1970."""
    return _column(name, sa.BigInteger(), **options)


def real(name: str, **options: bool) -> sa.Column[Any]:
    """A float."""
    return _column(name, sa.Float(53), **options)


def flag(name: str, **options: bool) -> sa.Column[Any]:
    """True or false."""
    return _column(name, sa.Boolean(), **options)


def payload(name: str, **options: bool) -> sa.Column[Any]:
    """Bytes."""
    return _column(name, sa.LargeBinary(), **options)


def upgrade() -> None:
    """Make every table, and the head of an empty ledger."""
    op.create_table(
        "projects",
        text("name", key=True),
        text("path"),
        text("digest"),
        text("source"),
        text("declared"),
        moment("applied_at"),
    )
    op.create_table(
        "datasets",
        text("name", key=True),
        text("spec"),
        integer("position"),
        integer("version"),
        integer("rows"),
        moment("created_at"),
        moment("arrived_at", null=True),
    )
    op.create_table(
        "batches",
        text("dataset", key=True),
        integer("seq", key=True),
        integer("rows"),
        text("token"),
        moment("at"),
        text("tags"),
        payload("payload"),
    )
    op.create_table(
        "tokens",
        text("dataset", key=True),
        text("token", key=True),
        integer("seq"),
        integer("accepted"),
        integer("quarantined"),
        moment("at"),
    )
    op.create_table(
        "dataset_versions",
        text("dataset", key=True),
        integer("version", key=True),
        integer("table_version"),
        integer("rows"),
        integer("added"),
        integer("first_seq"),
        integer("last_seq"),
        text("digest"),
        moment("created_at"),
    )
    op.create_table(
        "quarantined",
        text("id", key=True),
        text("dataset"),
        text("column"),
        text("reason"),
        integer("count"),
        text("rows"),
        moment("at"),
        text("tags"),
    )
    op.create_index("ix_quarantined_dataset_at", "quarantined", ["dataset", "at"])
    op.create_table(
        "feature_views",
        text("name", key=True),
        integer("version", key=True),
        text("digest"),
        text("spec"),
        moment("created_at"),
    )
    op.create_table(
        "runs",
        text("id", key=True),
        text("kind"),
        integer("experiment"),
        text("name"),
        text("model"),
        text("state"),
        text("reason"),
        text("actor"),
        integer("attempt"),
        text("function"),
        text("params"),
        text("metrics"),
        text("tags"),
        text("inputs"),
        text("features"),
        text("code"),
        text("environment"),
        integer("seed"),
        moment("data_until", null=True),
        integer("rows"),
        moment("created_at"),
        moment("started_at", null=True),
        moment("ended_at", null=True),
        moment("deleted_at", null=True),
        real("seconds", null=True),
        text("error"),
    )
    op.create_index(
        "ix_runs_experiment_deleted_at_started_at_id",
        "runs",
        ["experiment", "deleted_at", "started_at", "id"],
    )
    op.create_index("ix_runs_model_created_at", "runs", ["model", "created_at"])
    op.create_index("ix_runs_state", "runs", ["state"])
    op.create_table(
        "model_versions",
        text("model", key=True),
        integer("version", key=True),
        text("digest"),
        text("manifest"),
        text("run"),
        text("stage"),
        text("stage_reason"),
        text("metrics"),
        text("tags"),
        text("source"),
        text("location"),
        text("logged_model"),
        text("link"),
        text("description"),
        text("label"),
        text("actor"),
        moment("created_at"),
        moment("updated_at"),
    )
    op.create_index("ix_model_versions_run", "model_versions", ["run"])
    op.create_index("ix_model_versions_stage", "model_versions", ["stage"])
    op.create_index("ix_model_versions_updated_at", "model_versions", ["updated_at"])
    op.create_table(
        "gate_results",
        text("model", key=True),
        integer("version", key=True),
        text("gate", key=True),
        flag("passed"),
        real("value", null=True),
        real("threshold", null=True),
        text("reason"),
        text("evidence"),
        moment("at"),
    )
    op.create_table(
        "approvals",
        text("model", key=True),
        integer("version", key=True),
        text("policy", key=True),
        text("actor", key=True),
        text("digest"),
        text("reason"),
        moment("at"),
    )
    op.create_table(
        "signatures",
        text("model", key=True),
        integer("version", key=True),
        text("key", key=True),
        text("public"),
        text("digest"),
        text("bundle"),
        text("actor"),
        moment("at"),
    )
    op.create_table(
        "deprecations",
        text("model", key=True),
        integer("version", key=True),
        moment("on"),
        text("reason"),
        text("use"),
        text("actor"),
        moment("at"),
    )
    op.create_table(
        "aliases",
        text("model", key=True),
        text("alias", key=True),
        integer("version"),
        moment("at"),
    )
    op.create_table(
        "deployments",
        text("name", key=True),
        text("model"),
        integer("generation"),
        text("arms"),
        moment("at"),
        text("fallback"),
    )
    op.create_index("ix_deployments_model", "deployments", ["model"])
    op.create_table(
        "rollouts",
        text("id", key=True),
        text("deployment"),
        integer("candidate"),
        integer("champion"),
        text("state"),
        real("share"),
        moment("began_at"),
        moment("ended_at", null=True),
        integer("requests"),
        integer("labelled"),
        text("reason"),
        text("statistics"),
        text("tags"),
    )
    op.create_index("ix_rollouts_deployment_state", "rollouts", ["deployment", "state"])
    op.create_table(
        "trials",
        text("id", key=True),
        text("deployment"),
        text("state"),
        text("spec"),
        text("digest"),
        text("arms"),
        text("names"),
        moment("began_at"),
        moment("ended_at", null=True),
        integer("winner"),
        text("reason"),
        text("statistics"),
    )
    op.create_index("ix_trials_deployment_digest", "trials", ["deployment", "digest"])
    op.create_index("ix_trials_deployment_state", "trials", ["deployment", "state"])
    op.create_table(
        "probations",
        text("deployment", key=True),
        integer("version"),
        integer("former"),
        moment("began_at"),
        moment("until"),
        integer("log_seq"),
        text("statistics"),
    )
    op.create_table(
        "windows",
        text("deployment", key=True),
        text("monitor", key=True),
        moment("start"),
        moment("end", key=True),
        integer("rows"),
        real("value", null=True),
        real("threshold", null=True),
        flag("breached"),
        text("detail"),
    )
    op.create_index("ix_windows_deployment_end", "windows", ["deployment", "end"])
    op.create_table(
        "tallies",
        text("deployment", key=True),
        text("level", key=True),
        moment("hour", key=True),
        integer("total"),
        integer("bad"),
        text("minutes"),
    )
    op.create_table(
        "tallied",
        text("deployment", key=True),
        integer("seq"),
        moment("at"),
    )
    op.create_table(
        "usage",
        text("process", key=True),
        moment("hour", key=True),
        real("seconds"),
        real("cpu"),
        integer("rows"),
        real("started"),
        real("cpu_read"),
        integer("rows_read"),
        moment("read_at"),
    )
    op.create_table(
        "alerts",
        text("id", key=True),
        text("key"),
        text("subject"),
        text("severity"),
        text("state"),
        text("summary"),
        text("action"),
        moment("opened_at"),
        moment("onset", null=True),
        moment("acknowledged_at", null=True),
        text("acknowledged_by"),
        text("escalated"),
        text("candidate"),
        moment("candidate_at", null=True),
        text("decision"),
        moment("decided_at", null=True),
        moment("resolved_at", null=True),
        text("suspects"),
        text("detail"),
        text("tags"),
    )
    op.create_index("ix_alerts_candidate", "alerts", ["candidate"])
    op.create_index("ix_alerts_key_state", "alerts", ["key", "state"])
    op.create_index("ix_alerts_state_opened_at", "alerts", ["state", "opened_at"])
    op.create_table(
        "silences",
        text("id", key=True),
        text("kind"),
        text("subject"),
        text("key"),
        moment("begins_at"),
        moment("until"),
        text("state"),
        text("reason"),
        text("actor"),
    )
    op.create_index("ix_silences_state", "silences", ["state"])
    op.create_table(
        "deliveries",
        text("channel", key=True),
        integer("event", key=True),
        text("alert", key=True),
        text("transition"),
        text("group"),
        text("severity"),
        text("state"),
        moment("due_at"),
        text("batch"),
        integer("attempts"),
        text("error"),
        moment("sent_at", null=True),
    )
    op.create_index("ix_deliveries_alert", "deliveries", ["alert"])
    op.create_index("ix_deliveries_channel_state_sent_at", "deliveries", ["channel", "state", "sent_at"])
    op.create_table(
        "freezes",
        text("model", key=True),
        text("reason"),
        text("actor"),
        moment("at"),
    )
    op.create_table(
        "messages",
        text("source", key=True),
        text("id", key=True),
        text("type"),
        text("subject"),
        text("digest"),
        moment("at"),
    )
    op.create_index("ix_messages_type_at", "messages", ["type", "at"])
    op.create_table(
        "reactions",
        text("reactor", key=True),
        integer("event", key=True),
        integer("attempts"),
        flag("dead"),
        text("error"),
        moment("at"),
    )
    op.create_table(
        "evaluations",
        text("id", key=True),
        text("trigger"),
        text("rule"),
        moment("at"),
        real("value", null=True),
        real("threshold", null=True),
        flag("fired"),
        text("reason"),
        text("run"),
    )
    op.create_index("ix_evaluations_trigger_at", "evaluations", ["trigger", "at"])
    op.create_index("ix_evaluations_trigger_rule_at", "evaluations", ["trigger", "rule", "at"])
    op.create_table(
        "step_executions",
        text("id", key=True),
        text("pipeline"),
        text("step"),
        text("key"),
        text("state"),
        text("output"),
        moment("began_at"),
        real("seconds", null=True),
        text("error"),
    )
    op.create_index("ix_step_executions_key", "step_executions", ["key"])
    op.create_index("ix_step_executions_pipeline_began_at", "step_executions", ["pipeline", "began_at"])
    op.create_index("ix_step_executions_state", "step_executions", ["state"])
    op.create_table(
        "leases",
        text("id", key=True),
        text("role"),
        text("subject"),
        text("host"),
        text("boot"),
        integer("pid"),
        text("address"),
        moment("heartbeat"),
        text("detail"),
    )
    op.create_index("ix_leases_role", "leases", ["role"])
    op.create_table(
        "cursors",
        text("name", key=True),
        integer("seq"),
    )
    op.create_table(
        "experiments",
        integer("id", key=True),
        text("name"),
        text("artifacts"),
        moment("created_at"),
        moment("updated_at"),
        moment("deleted_at", null=True),
    )
    op.create_index("ix_experiments_name", "experiments", ["name"], unique=True)
    op.create_index("ix_experiments_updated_at", "experiments", ["updated_at"])
    op.create_table(
        "experiment_tags",
        integer("experiment", key=True),
        text("key", key=True),
        text("value"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "params",
        text("run", key=True),
        text("key", key=True),
        text("value"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_tags",
        text("run", key=True),
        text("key", key=True),
        text("value"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "metrics",
        text("run", key=True),
        text("key", key=True),
        integer("experiment"),
        real("value", null=True),
        integer("step"),
        integer("timestamp"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_metrics_experiment_key_value", "metrics", ["experiment", "key", "value"])
    op.create_table(
        "metric_blocks",
        text("run", key=True),
        integer("seq", key=True),
        integer("level"),
        integer("count"),
        integer("pending"),
        text("first"),
        text("last"),
        text("keys"),
        payload("payload"),
    )
    op.create_table(
        "run_streams",
        text("run", key=True),
        text("stream", key=True),
        integer("seq"),
        flag("joined"),
        moment("at"),
    )
    op.create_table(
        "run_inputs",
        text("run", key=True),
        text("name", key=True),
        text("digest", key=True),
        text("source_type"),
        text("source"),
        text("schema"),
        text("profile"),
        text("context"),
        text("tags"),
        integer("place"),
    )
    op.create_index("ix_run_inputs_name_digest", "run_inputs", ["name", "digest"])
    op.create_table(
        "artifact_files",
        text("root", key=True),
        text("path", key=True),
        integer("size"),
        text("chunks"),
        moment("at"),
    )
    op.create_table(
        "registered_models",
        text("name", key=True),
        text("description"),
        integer("versions"),
        text("latest"),
        moment("created_at"),
        moment("updated_at"),
    )
    op.create_index("ix_registered_models_updated_at", "registered_models", ["updated_at"])
    op.create_table(
        "model_tags",
        text("model", key=True),
        integer("version", key=True),
        text("key", key=True),
        text("value"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "logged_models",
        text("id", key=True),
        integer("experiment"),
        text("name"),
        text("type"),
        text("run"),
        text("status"),
        text("status_message"),
        text("artifacts"),
        moment("created_at"),
        moment("updated_at"),
        moment("deleted_at", null=True),
    )
    op.create_index("ix_logged_models_experiment_created_at", "logged_models", ["experiment", "created_at"])
    op.create_index("ix_logged_models_run", "logged_models", ["run"])
    op.create_table(
        "logged_model_tags",
        text("model", key=True),
        text("key", key=True),
        text("value"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "logged_model_params",
        text("model", key=True),
        text("key", key=True),
        text("value"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "logged_model_metrics",
        text("model", key=True),
        text("key", key=True),
        text("run", key=True),
        text("dataset", key=True),
        text("digest", key=True),
        real("value", null=True),
        integer("step", key=True),
        integer("timestamp", key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_logged_model_metrics_key_value", "logged_model_metrics", ["key", "value"])
    op.create_table(
        "run_models",
        text("run", key=True),
        text("model", key=True),
        text("role", key=True),
        integer("step"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_run_models_model", "run_models", ["model"])
    op.create_table(
        "traces",
        text("id", key=True),
        integer("experiment"),
        text("name"),
        text("client"),
        text("state"),
        moment("began_at"),
        moment("ended_at", null=True),
        integer("took", null=True),
        text("request", null=True),
        text("response", null=True),
        flag("settled"),
    )
    op.create_index("ix_traces_experiment_began_at_id", "traces", ["experiment", "began_at", "id"])
    op.create_table(
        "trace_tags",
        text("trace", key=True),
        text("key", key=True),
        text("value"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "trace_metadata",
        text("trace", key=True),
        text("key", key=True),
        text("value"),
    )
    op.create_table(
        "trace_runs",
        text("run", key=True),
        text("trace", key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_trace_runs_trace", "trace_runs", ["trace"])
    op.create_table(
        "span_blocks",
        text("trace", key=True),
        integer("seq", key=True),
        integer("count"),
        text("spans"),
    )
    op.create_table(
        "span_kinds",
        text("trace", key=True),
        text("name", key=True),
        text("type", key=True),
        text("status", key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "assessments",
        text("trace", key=True),
        text("id", key=True),
        text("name"),
        text("body"),
        moment("created_at"),
        moment("updated_at"),
        flag("valid"),
    )
    op.create_table(
        "events",
        integer("seq", key=True),
        text("kind"),
        text("subject"),
        moment("at"),
        text("actor"),
        text("body"),
        text("edges"),
        text("previous"),
        text("hash"),
    )
    op.create_index("ix_events_kind_seq", "events", ["kind", "seq"])
    op.create_index("ix_events_subject_seq", "events", ["subject", "seq"])
    op.create_table(
        "edges",
        integer("seq", key=True),
        text("source", key=True),
        text("target", key=True),
        text("role", key=True),
        sa.ForeignKeyConstraint(["seq"], ["events.seq"]),
    )
    op.create_index("ix_edges_source", "edges", ["source"])
    op.create_index("ix_edges_target", "edges", ["target"])
    op.create_table(
        "ledger_head",
        integer("id", key=True),
        integer("seq"),
        text("hash"),
    )
    op.execute("INSERT INTO ledger_head (id, seq, hash) VALUES (1, 0, 'sha256:" + "0" * 64 + "')")


def downgrade() -> None:
    """Remove every table."""
    for name in (
        "edges",
        "ledger_head",
        "events",
        "assessments",
        "span_kinds",
        "span_blocks",
        "trace_runs",
        "trace_metadata",
        "trace_tags",
        "traces",
        "run_models",
        "logged_model_metrics",
        "logged_model_params",
        "logged_model_tags",
        "logged_models",
        "model_tags",
        "registered_models",
        "artifact_files",
        "run_inputs",
        "run_streams",
        "metric_blocks",
        "metrics",
        "run_tags",
        "params",
        "experiment_tags",
        "experiments",
        "cursors",
        "leases",
        "step_executions",
        "evaluations",
        "reactions",
        "messages",
        "freezes",
        "deliveries",
        "silences",
        "alerts",
        "usage",
        "tallied",
        "tallies",
        "windows",
        "probations",
        "trials",
        "rollouts",
        "deployments",
        "aliases",
        "deprecations",
        "signatures",
        "approvals",
        "gate_results",
        "model_versions",
        "runs",
        "feature_views",
        "quarantined",
        "dataset_versions",
        "tokens",
        "batches",
        "datasets",
        "projects",
    ):
        op.drop_table(name)
