"""What the store remembers: one frozen record a row. ``KEY`` names the fields that identify it.

Times are aware datetimes in UTC; ``at`` fields are read from the Clock's ``now``, so under a simulated clock they
are simulated time. ``tags`` mark what a person or a fault injection said about the thing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec

RunState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Stage = Literal[
    "registered",
    "candidate",
    "rejected",
    "accepted",
    "canary",
    "champion",
    "rolled-back",
    "superseded",
    "retired",
]
Role = Literal["champion", "canary", "variant", "shadow"]


class Record(msgspec.Struct, frozen=True):
    """Base of stored records. Each names ``kw_only`` itself, since msgspec does not inherit it."""

    KEY: ClassVar[tuple[str, ...]] = ()


class Project(Record, frozen=True, kw_only=True):
    """The applied project: where its module is and what it declared, by ``kind/name``."""

    KEY = ("name",)
    name: str
    path: str
    digest: str
    source: str  # digest of the project's files in the blobs
    declared: dict[str, Any]
    applied_at: datetime


class Dataset(Record, frozen=True, kw_only=True):
    """A dataset's declaration and how far it has come; ``position`` is the seq of its last batch."""

    KEY = ("name",)
    name: str
    spec: dict[str, Any]
    position: int = 0
    version: int = 0
    rows: int = 0
    created_at: datetime
    arrived_at: datetime | None = None  # the last rows that were accepted


class Batch(Record, frozen=True, kw_only=True):
    """Rows that arrived and are not yet in a dataset version; ``payload`` is an Arrow IPC stream.

    ``token`` is the sender's idempotency key: a token seen before adds nothing.
    """

    KEY = ("dataset", "seq")
    dataset: str
    seq: int
    rows: int
    token: str
    at: datetime
    tags: dict[str, str] = {}
    payload: bytes  # the last column: SQLite goes through what stands before one that it reads


class Token(Record, frozen=True, kw_only=True):
    """An idempotency key that has been used, with what it gave."""

    KEY = ("dataset", "token")
    dataset: str
    token: str
    seq: int
    accepted: int
    quarantined: int
    at: datetime


class DatasetVersion(Record, frozen=True, kw_only=True):
    """An immutable version: the batches ``first_seq`` to ``last_seq`` on top of the version before.

    ``table_version`` is the version of the table in the Tables store; ``digest`` covers the previous digest and the
    added rows, so equal contents in equal order have equal digests.
    """

    KEY = ("dataset", "version")
    dataset: str
    version: int
    table_version: int
    rows: int
    added: int
    first_seq: int
    last_seq: int
    digest: str
    created_at: datetime


class Quarantined(Record, frozen=True, kw_only=True):
    """Rows that broke the contract, one record for each batch, column and rule; ``rows`` holds up to 20 as JSON."""

    KEY = ("id",)
    id: str
    dataset: str
    column: str
    reason: str
    count: int
    rows: list[dict[str, Any]]
    at: datetime
    tags: dict[str, str] = {}


class FeatureView(Record, frozen=True, kw_only=True):
    """A version of a feature view; a changed definition is a new version."""

    KEY = ("name", "version")
    name: str
    version: int
    digest: str
    spec: dict[str, Any]
    created_at: datetime


class Run(Record, frozen=True, kw_only=True):
    """A tracked execution: a training that the platform runs (``train``) or what somebody else runs (``run``).

    What is logged to it is in ``homeostat.domain.tracking``. Of a training, ``inputs`` are references at versions,
    ``reason`` says why it began, and ``params``, ``metrics`` and ``tags`` are its own besides.
    """

    KEY = ("id",)
    id: str
    kind: Literal["train", "run"]
    experiment: int = 0
    name: str = ""
    model: str = ""
    state: RunState
    reason: str = ""
    actor: str = "system"
    attempt: int = 1
    function: str = ""  # module:function used in place of the declared one
    params: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}
    inputs: list[str] = []
    features: list[str] = []
    code: str = ""  # digest of the project's files
    environment: str = ""  # digest of the environment lock
    seed: int = 0
    data_until: datetime | None = None  # labels known by then were used
    rows: int = 0
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    deleted_at: datetime | None = None
    seconds: float | None = None  # real time the training took
    error: str = ""


class ModelVersion(Record, frozen=True, kw_only=True):
    """An immutable package. ``manifest`` lists its files with digests; ``digest`` is that of the manifest.

    A version that was ``registered`` by a client has no manifest: its files are where ``source`` says, or at
    ``location`` where that names another version or a logged model. The platform acts on none of these.
    """

    KEY = ("model", "version")
    model: str
    version: int
    digest: str = ""
    manifest: dict[str, Any] = {}
    run: str
    stage: Stage
    stage_reason: str = ""
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}
    source: str = ""
    location: str = ""
    logged_model: str = ""
    link: str = ""  # to the run that made it, where that is on another server
    description: str = ""
    label: str = "None"  # MLflow's free stage: None, Staging, Production or Archived
    actor: str = ""
    created_at: datetime
    updated_at: datetime  # by a client; what the loop does with it is in its events


class GateResult(Record, frozen=True, kw_only=True):
    """One gate's verdict on one version, with its evidence."""

    KEY = ("model", "version", "gate")
    model: str
    version: int
    gate: str
    passed: bool
    value: float | None
    threshold: float | None
    reason: str
    evidence: dict[str, Any] = {}
    at: datetime


class Approval(Record, frozen=True, kw_only=True):
    """A person's consent to one version: to the package of ``digest``, under the policy of the digest ``policy``."""

    KEY = ("model", "version", "policy", "actor")
    model: str
    version: int
    policy: str
    actor: str
    digest: str
    reason: str
    at: datetime


class Signature(Record, frozen=True, kw_only=True):
    """A signature over the files of the package of ``digest``, by the key whose public half has the digest ``key``."""

    KEY = ("model", "version", "key")
    model: str
    version: int
    key: str
    public: str  # the key's public half, as PEM
    digest: str
    bundle: str  # as OpenSSF's model signing writes it: a Sigstore bundle in JSON
    actor: str
    at: datetime


class Deprecation(Record, frozen=True, kw_only=True):
    """A version that is not to be deployed anew from ``on`` on; ``use`` names what to take in its place."""

    KEY = ("model", "version")
    model: str
    version: int
    on: datetime
    reason: str
    use: str = ""
    actor: str
    at: datetime


class Alias(Record, frozen=True, kw_only=True):
    """A pointer; its history is in the ledger (``model.alias-moved``)."""

    KEY = ("model", "alias")
    model: str
    alias: str
    version: int
    at: datetime


class Arm(msgspec.Struct, frozen=True):
    """A model version in a deployment with its share of the traffic, 0 to 1; that of a shadow is what it sees of it."""

    version: int
    weight: float
    role: Role


class Deployment(Record, frozen=True, kw_only=True):
    """A live endpoint. ``generation`` grows with every change of the arms or of what it falls back on."""

    KEY = ("name",)
    name: str
    model: str
    generation: int
    arms: list[Arm]
    at: datetime
    fallback: dict[str, Any] = {}  # as its model declares it; empty: nothing


class Rollout(Record, frozen=True, kw_only=True):
    """A staged change and how it ended; ``statistics`` holds the sequential test's state at the last look."""

    KEY = ("id",)
    id: str
    deployment: str
    candidate: int
    champion: int
    state: Literal["running", "promoted", "rolled-back"]
    share: float
    began_at: datetime
    ended_at: datetime | None = None
    requests: int = 0  # answered by the candidate
    labelled: int = 0
    reason: str = ""
    statistics: dict[str, Any] = {}
    tags: dict[str, str] = {}


class Window(Record, frozen=True, kw_only=True):
    """One evaluation of one monitor. ``threshold`` None: shown, not judged."""

    KEY = ("deployment", "monitor", "end")
    deployment: str
    monitor: str
    start: datetime
    end: datetime
    rows: int
    value: float | None
    threshold: float | None
    breached: bool
    detail: dict[str, Any] = {}


class Recent(msgspec.Struct, frozen=True):
    """A change shortly before something went wrong: the event ``seq`` of the ledger, in a sentence."""

    seq: int
    at: datetime
    what: str


class Suspects(msgspec.Struct, frozen=True, kw_only=True):
    """What may be behind an alert: features and slices that stand out, and recent changes, the newest first."""

    features: list[str] = []
    slices: list[str] = []
    changes: list[Recent] = []


class Tally(Record, frozen=True, kw_only=True):
    """Events of one service level within an hour: minutes since 1970, each with how many and how many bad.

    Tallies add. Those of the hours of a period are its error budget.
    """

    KEY = ("deployment", "level", "hour")
    deployment: str
    level: str
    hour: datetime
    total: int
    bad: int
    minutes: list[list[int]]


class Tallied(Record, frozen=True, kw_only=True):
    """How far service levels were counted: the batch of the prediction log, and the time of the last look."""

    KEY = ("deployment",)
    deployment: str
    seq: int
    at: datetime


class Usage(Record, frozen=True, kw_only=True):
    """What one model server used and did within an hour, which adds, and its own counters at the last reading."""

    KEY = ("process", "hour")
    process: str
    hour: datetime
    seconds: float  # that were observed; real time, as all of this is
    cpu: float  # seconds of processors
    rows: int
    started: float  # of the process that was read
    cpu_read: float
    rows_read: int
    read_at: datetime


class Alert(Record, frozen=True, kw_only=True):
    """Something a person should know, open until it is resolved. ``key`` makes repeats one alert.

    ``candidate`` is the version that was trained to mend it, as a reference, and ``decision`` what was decided of that
    version; of what was mended at once, ``decision`` is what was done.
    """

    KEY = ("id",)
    id: str
    key: str
    subject: str
    severity: Literal["ticket", "page"]
    state: Literal["open", "resolved"]
    summary: str
    action: str
    opened_at: datetime
    onset: datetime | None = None  # when what is wrong began, where that is known
    acknowledged_at: datetime | None = None
    acknowledged_by: str = ""
    escalated: list[str] = []  # channels that were told since nobody acknowledged it
    candidate: str = ""
    candidate_at: datetime | None = None
    decision: str = ""
    decided_at: datetime | None = None
    resolved_at: datetime | None = None
    suspects: Suspects = Suspects()
    detail: dict[str, Any] = {}
    tags: dict[str, str] = {}


class Silence(Record, frozen=True, kw_only=True):
    """A time in which nobody is told of some alerts: those whose subject and key match the patterns.

    A maintenance window is one that was announced. What is still open when it ends is told then.
    """

    KEY = ("id",)
    id: str
    kind: Literal["silence", "maintenance"]
    subject: str  # a pattern with * and ?, as in deployment/*
    key: str
    begins_at: datetime
    until: datetime
    state: Literal["announced", "active", "ended"]
    reason: str
    actor: str


class Delivery(Record, frozen=True, kw_only=True):
    """That a channel is to be told of a transition of an alert, which the event ``event`` of the ledger is.

    Deliveries of one ``batch`` go out together, under its id, as often as it takes. Times are real.
    """

    KEY = ("channel", "event", "alert")
    channel: str
    event: int
    alert: str
    transition: str
    group: str
    severity: Literal["ticket", "page"]
    state: Literal["waiting", "sent"]
    due_at: datetime
    batch: str = ""
    attempts: int = 0
    error: str = ""
    sent_at: datetime | None = None


class Freeze(Record, frozen=True, kw_only=True):
    """A freeze in force; that of ``model`` "" is of all models. It is removed when it ends."""

    KEY = ("model",)
    model: str
    reason: str
    actor: str
    at: datetime

    @property
    def why(self) -> str:
        """By whom, since when and why."""
        of = f"model/{self.model}" if self.model else "every model"
        return f"{of} by {self.actor} since {self.at:%Y-%m-%d %H:%M}: {self.reason}"


class Message(Record, frozen=True, kw_only=True):
    """A CloudEvent that came in: ``source`` and ``id`` tell it from others, so one that comes again is the same."""

    KEY = ("source", "id")
    source: str
    id: str
    type: str
    subject: str = ""
    digest: str  # of its data
    at: datetime


class Reaction(Record, frozen=True, kw_only=True):
    """A reaction to the event ``event`` of the ledger that failed ``attempts`` times; ``dead`` when it was given up.

    The judging of version ``event`` of a model is told so as well, as that of a reactor ``judge:MODEL``.
    """

    KEY = ("reactor", "event")
    reactor: str
    event: int
    attempts: int
    dead: bool
    error: str
    at: datetime  # real time, from Clock.wall


class Evaluation(Record, frozen=True, kw_only=True):
    """One evaluation of one retraining rule and why it fired or did not."""

    KEY = ("id",)
    id: str
    trigger: str
    rule: str
    at: datetime
    value: float | None
    threshold: float | None
    fired: bool
    reason: str
    run: str = ""


class StepExecution(Record, frozen=True, kw_only=True):
    """One execution of a pipeline step; ``key`` is the digest of its code and inputs."""

    KEY = ("id",)
    id: str
    pipeline: str
    step: str
    key: str
    state: Literal["running", "succeeded", "failed", "cached"]
    output: str = ""  # digest of the output in the blobs
    began_at: datetime
    seconds: float | None = None
    error: str = ""


class Lease(Record, frozen=True, kw_only=True):
    """A process that runs something. Dead when its pid is gone, or its boot or heartbeat is another's or too old."""

    KEY = ("id",)
    id: str
    role: Literal["control", "worker", "job"]
    subject: str
    host: str
    boot: str
    pid: int
    address: str = ""
    heartbeat: datetime  # real time, from Clock.wall
    detail: dict[str, Any] = {}


class Cursor(Record, frozen=True, kw_only=True):
    """How far a reader of the ledger has come; moved once it has done what follows from the events up to there."""

    KEY = ("name",)
    name: str
    seq: int
