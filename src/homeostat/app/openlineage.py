"""The ledger as OpenLineage: trainings are runs, datasets and models are datasets, deployments are jobs.

A reader of the ledger with a cursor of its own, moved after each event that was taken: a receiver that is away holds up
nothing else, and hears of everything once it is back. Datasets are named as OpenLineage names tables of files, so what
Spark or another engine tells of the same table is the same dataset there.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from homeostat.app.container import Container
from homeostat.app.reading import declared_columns
from homeostat.domain.events import Event
from homeostat.domain.records import Cursor, Dataset, DatasetVersion, Deployment, ModelVersion, Project, Run
from homeostat.domain.refs import Ref, parse_ref
from homeostat.domain.release import VERSION

if TYPE_CHECKING:
    from openlineage.client import event_v2 as ol

PRODUCER: Final = f"pkg:pypi/homeostat@{VERSION}"  # a package URL (ECMA-427)
_CURSOR: Final = "openlineage"
_STATES: Final = {
    "run.started": "START",
    "run.succeeded": "COMPLETE",
    "run.failed": "FAIL",
    "run.cancelled": "ABORT",
}
_SPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "homeostat")


def tell_lineage(container: Container) -> int:
    """Send what happened since the last time; returns how many events were taken.

    Raises:
        StoreUnavailable: the receiver does not take it; what it took is not sent again.
        NotInstalled: the extra ``lineage`` is not there.
    """
    sink = container.lineage
    if sink is None:
        return 0
    cursor = container.store.get(Cursor, _CURSOR)
    after, sent = cursor.seq if cursor else 0, 0
    while events := container.ledger.read(after, limit=500):
        for event in events:
            told = translated(container, event)
            if told is not None:
                sink.emit(told)
                sent += 1
                _move(container, event.seq)
        after = events[-1].seq
        _move(container, after)
    return sent


def translated(container: Container, event: Event) -> ol.RunEvent | ol.DatasetEvent | ol.JobEvent | None:
    """An event of the ledger as OpenLineage; None for what lineage is not about."""
    if event.kind in _STATES:
        run = container.store.get(Run, parse_ref(event.subject).name)
        return _run(container, event, run) if run is not None and run.kind == "train" else None
    if event.kind == "dataset.version-created":
        return _dataset_event(container, event)
    if event.kind == "deployment.changed":
        return _deployment(container, event)
    return None


def _run(container: Container, event: Event, run: Run) -> ol.RunEvent:
    from openlineage.client import event_v2 as ol
    from openlineage.client.generated.error_message_run import ErrorMessageRunFacet
    from openlineage.client.generated.processing_engine_run import ProcessingEngineRunFacet

    facets: dict[str, Any] = {
        "processing_engine": ProcessingEngineRunFacet(version=VERSION, name="Homeostat", producer=PRODUCER)
    }
    if event.kind == "run.failed":
        message = str(event.body.get("error") or "it failed")
        facets["errorMessage"] = ErrorMessageRunFacet(
            message=message, programmingLanguage="PYTHON", producer=PRODUCER
        )
    made = container.store.find(ModelVersion, ("run", "=", run.id), ("model", "=", run.model), limit=1)
    inputs = [parse_ref(text) for text in run.inputs]
    return ol.RunEvent(
        eventTime=event.at.isoformat(),
        eventType=ol.RunState[_STATES[event.kind]],
        producer=PRODUCER,
        run=ol.Run(runId=run_id(run.id), facets=facets),
        job=_job(container, f"train/{run.model}", "BATCH", "TRAINING"),
        inputs=[
            ol.InputDataset(*_place(container, ref.name), facets=_facets(container, ref.name, ref.version))
            for ref in inputs
            if ref.kind == "dataset"
        ],
        outputs=[_model(container, one, ol.OutputDataset) for one in made if event.kind == "run.succeeded"],
    )


def _dataset_event(container: Container, event: Event) -> ol.DatasetEvent:
    from openlineage.client import event_v2 as ol

    ref = parse_ref(event.subject)
    facets = _facets(container, ref.name, ref.version)
    return ol.DatasetEvent(
        eventTime=event.at.isoformat(),
        producer=PRODUCER,
        dataset=ol.StaticDataset(*_place(container, ref.name), facets=facets),
    )


def _deployment(container: Container, event: Event) -> ol.JobEvent | None:
    from openlineage.client import event_v2 as ol

    name = parse_ref(event.subject).name
    deployment = container.store.get(Deployment, name)
    if deployment is None:
        return None
    numbers = [int(arm["version"]) for arm in event.body.get("arms", ())]
    served = [container.store.get(ModelVersion, deployment.model, number) for number in numbers]
    return ol.JobEvent(
        eventTime=event.at.isoformat(),
        producer=PRODUCER,
        job=_job(container, f"serve/{name}", "STREAMING", "DEPLOYMENT"),
        inputs=[_model(container, one, ol.InputDataset) for one in served if one is not None],
        outputs=[ol.OutputDataset(*_place(container, f"{name}.predictions"))],
    )


def run_id(id: str) -> str:
    """A run's id as OpenLineage has them: a UUID, the same for the same run."""
    return str(uuid.uuid5(_SPACE, f"run/{id}"))


def _job(container: Container, name: str, processing: str, kind: str) -> ol.Job:
    from openlineage.client import event_v2 as ol
    from openlineage.client.generated.job_type_job import JobTypeJobFacet

    facet = JobTypeJobFacet(
        processingType=processing, integration="HOMEOSTAT", jobType=kind, producer=PRODUCER
    )
    return ol.Job(namespace=_namespace(container), name=name, facets={"jobType": facet})


def _namespace(container: Container) -> str:
    projects = container.store.find(Project, order=["-applied_at"], limit=1)
    return f"homeostat://{projects[0].name}" if projects else "homeostat://"


def _place(container: Container, name: str) -> tuple[str, str]:
    """Namespace and name of a dataset's table, by OpenLineage's naming of files and buckets."""
    root = container.settings.tables
    if root.startswith("s3://"):
        bucket, _, prefix = root.removeprefix("s3://").partition("/")
        return f"s3://{bucket}", f"{prefix}/{name}".strip("/")
    return "file", str(Path(root) / name)


def _facets(container: Container, name: str, version: str) -> dict[str, Any]:
    from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet
    from openlineage.client.generated.schema_dataset import SchemaDatasetFacet, SchemaDatasetFacetFields

    facets: dict[str, Any] = {}
    record = container.store.get(Dataset, name)
    columns = declared_columns(record) if record else None
    if columns:
        fields = [SchemaDatasetFacetFields(name=one.name, type=one.type) for one in columns]
        facets["schema"] = SchemaDatasetFacet(fields=fields, producer=PRODUCER)
    if version and container.store.get(DatasetVersion, name, int(version)) is not None:
        facets["version"] = DatasetVersionDatasetFacet(datasetVersion=version, producer=PRODUCER)
    return facets


def _model(container: Container, version: ModelVersion, kind: Any) -> Any:
    """A model version as a dataset: what a training writes and a deployment reads."""
    from openlineage.client.generated.dataset_type_dataset import DatasetTypeDatasetFacet
    from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet

    facets = {
        "datasetType": DatasetTypeDatasetFacet(datasetType="MODEL", producer=PRODUCER),
        "version": DatasetVersionDatasetFacet(datasetVersion=str(version.version), producer=PRODUCER),
    }
    return kind(_namespace(container), str(Ref("model", version.model)), facets=facets)


def _move(container: Container, seq: int) -> None:
    with container.store.begin() as tx:
        tx.put(Cursor(name=_CURSOR, seq=seq))
