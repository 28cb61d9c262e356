"""Traces through the official client: of decorated functions, searched, marked, judged and removed."""

from __future__ import annotations

from typing import Any

from tests.mlflow.official import Client


def test_traces(client: Client) -> None:
    def script() -> dict[str, Any]:
        import contextlib

        import mlflow

        asking = mlflow.MlflowClient()
        experiment = mlflow.set_experiment("traces").experiment_id

        @mlflow.trace(span_type="CHAIN", attributes={"depth": 3})
        def answer(x: int) -> dict[str, int]:
            with mlflow.start_span("inner") as span:
                span.set_inputs({"x": x})
                span.set_outputs("é")
            mlflow.update_current_trace(tags={"t": "v"}, client_request_id="mine")
            return {"y": x + 1}

        @mlflow.trace
        def fail() -> None:
            raise ValueError("no")

        with mlflow.start_run() as run:
            answer(3)
        with contextlib.suppress(ValueError):
            fail()
        mlflow.flush_trace_async_logging()

        def names(filter: str = "") -> list[str]:
            found = mlflow.search_traces(locations=[experiment], filter_string=filter, return_type="list")
            return sorted(trace.info.tags["mlflow.traceName"] for trace in found)

        found = mlflow.search_traces(
            locations=[experiment], filter_string="name = 'answer'", return_type="list"
        )[0]
        id = found.info.trace_id
        spans = {span.name: span for span in mlflow.get_trace(id).data.spans}
        feedback = mlflow.log_feedback(trace_id=id, name="good", value=True, rationale="r")
        mlflow.log_expectation(trace_id=id, name="right", value={"y": 4})
        mlflow.override_feedback(trace_id=id, assessment_id=feedback.assessment_id, value=False)
        asking.set_trace_tag(id, "new", "1")
        asking.delete_trace_tag(id, "t")
        after = mlflow.get_trace(id).info
        return {
            "all": names(),
            "failed": names("trace.status = 'ERROR'"),
            "of the run": names(f"run_id = '{run.info.run_id}'"),
            "of the client": names("client_request_id = 'mine'"),
            "with a span": names("span.name = 'inner'"),
            "previews": [found.info.request_preview, found.info.response_preview],
            "spans": sorted(spans),
            "child": spans["inner"].parent_id == spans["answer"].span_id,
            "type": spans["answer"].span_type,
            "values": [spans["inner"].inputs, spans["inner"].outputs, spans["answer"].attributes["depth"]],
            "tags": [after.tags.get("new"), after.tags.get("t")],
            "judged": sorted([one.name, one.valid] for one in after.assessments if one.feedback),
            "deleted": asking.delete_traces(experiment, trace_ids=[id]),
            "left": names(),
        }

    assert client(script) == {
        "all": ["answer", "fail"],
        "failed": ["fail"],
        "of the run": ["answer"],
        "of the client": ["answer"],
        "with a span": ["answer"],
        "previews": ['{"x": 3}', '{"y": 4}'],
        "spans": ["answer", "inner"],
        "child": True,
        "type": "CHAIN",
        "values": [{"x": 3}, "é", 3],
        "tags": ["1", None],
        "judged": [["good", False], ["good", True]],
        "deleted": 1,
        "left": ["fail"],
    }
