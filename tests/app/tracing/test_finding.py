"""Traces found by what was judged of them, and by the attributes of their spans, on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.app.tracing.assessments import assess
from homeostat.app.tracing.ingest import link_traces, start_trace, take_spans
from homeostat.app.tracing.reading import search_traces
from homeostat.app.tracking import create_run
from homeostat.domain.errors import BadRequest
from homeostat.domain.traces import Trace

BEGAN = datetime(2026, 5, 1, 12, tzinfo=UTC)
JUDGED: dict[str, dict[str, Any]] = {
    "a": {"feedback": {"value": "good"}},
    "b": {"feedback": {"value": True}},
    "c": {"feedback": {"value": 4.5}},
    "d": {"feedback": {"value": 10}},
    "e": {"expectation": {"value": "good"}},
    "f": {"feedback": {"value": "12"}},
    "g": {"feedback": {"error": {"error_code": "RefusedError"}}},
    "i": {"feedback": {"value": "nul\0in it"}},
    "h": {
        "expectation": {"serialized_value": {"serialization_format": "JSON_FORMAT", "value": '{"k": "v"}'}}
    },
}


@pytest.fixture
def container(tmp_path: Path, store_url: str) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home", store=store_url)) as made:
        yield made


def found(container: Container, filter: str) -> list[str]:
    return sorted(one.id for one in search_traces(container, [0], filter=filter).items)


def test_by_what_was_judged(container: Container) -> None:
    made: dict[str, str] = {}
    for id, body in JUDGED.items():
        start_trace(container, Trace(id=id, experiment=0, state="OK", began_at=BEGAN), tags={}, metadata={})
        made[id] = assess(container, id, {"assessment_name": "quality", **body}).id
    replaced = {"assessment_name": "quality", "feedback": {"value": "worse"}, "overrides": made["f"]}
    assess(container, "f", replaced)
    for filter, wanted in (
        ("feedback.quality = 'good'", "a"),
        ("expectation.quality = 'good'", "e"),
        ("feedback.quality = 'true'", "b"),
        ("feedback.quality = '10'", "d"),
        ("feedback.quality != 'good'", "bcdfi"),
        ("feedback.quality LIKE 'nul%'", "i"),
        ("feedback.quality > 4", "cd"),
        ("feedback.quality <= '4.5'", "c"),
        ("feedback.quality >= 5 AND feedback.quality < 11", "d"),
        ("feedback.quality LIKE '%o%'", "af"),
        ("feedback.quality ILIKE 'GO%'", "a"),
        ("feedback.quality = '12'", ""),  # another one took its place
        ("feedback.quality IS NULL", "eh"),
        ("expectation.quality IS NOT NULL", "eh"),
        ("expectation.quality LIKE '%\"k\"%'", "h"),
        ("feedback.`other name` = 'good'", ""),
    ):
        assert (filter, found(container, filter)) == (filter, list(wanted))
    for filter in ("feedback.quality > 'much'", "feedback.quality = 5", "feedback.quality IN ('a')"):
        with pytest.raises(BadRequest):
            found(container, filter)


def test_by_attributes_of_spans(container: Container) -> None:
    for number, pairs in enumerate(
        (
            {"llm.model": {"string_value": '"gpt-4"'}, "tokens": {"int_value": 12}},
            {
                "llm.model": {"string_value": "mini"},
                "flag": {"bool_value": True},
                'o"dd': {"string_value": "ü"},
            },
            {"other": {"string_value": "llm.model gpt-4"}, "n": {"string_value": "nul\0in it"}},
        ),
        1,
    ):
        attributes = [{"key": key, "value": value} for key, value in pairs.items()]
        span = {
            "trace_id": f"{number:032x}",
            "span_id": "00f067aa0ba902b7",
            "name": "s",
            "attributes": attributes,
        }
        plain = {**span, "span_id": "00f067aa0ba902b8", "attributes": []}
        take_spans(container, 0, [(plain, {}), (span, {})])
    for filter, wanted in (
        ("span.attributes.llm.model = 'gpt-4'", "1"),
        ("span.attributes.llm.model != 'gpt-4'", "2"),
        ("span.attributes.llm.model IN ('mini', 'gpt-4')", "12"),
        ("span.attributes.llm.model LIKE 'gpt%'", "1"),
        ("span.attributes.llm.model ILIKE '%MIN%' AND span.attributes.flag = 'true'", "2"),
        ("span.attributes.tokens = '12'", "1"),
        ("span.`attributes.o\"dd` = 'ü'", "2"),
        ("span.attributes.other LIKE '%gpt%'", "3"),
        ("span.attributes.n LIKE 'nul%'", "3"),
        ("span.attributes.gpt-4 LIKE '%'", ""),
    ):
        assert (filter, [id[-1] for id in found(container, filter)]) == (filter, list(wanted))
    with pytest.raises(BadRequest):
        found(container, "span.attributes.llm.model > 'a'")


def test_by_prompts_and_runs_and_in_the_order_of_marks(container: Container) -> None:
    prompts = {
        "a": [("my_prompt", "1")],
        "b": [("other", "3"), ("my_prompt", "11")],
        "c": [("my-prompt", "1")],
    }
    for id, used in prompts.items():
        tags = {
            "mlflow.linkedPrompts": json.dumps([{"name": name, "version": v} for name, v in used]),
            "rank": id,
        }
        trace = Trace(id=id, experiment=0, state="OK", began_at=BEGAN)
        start_trace(container, trace, tags=tags, metadata={"size": {"a": "2", "b": "1", "c": "3"}[id]})
    start_trace(container, Trace(id="d", experiment=0, state="OK", began_at=BEGAN), tags={}, metadata={})
    run = create_run(container, 0).id
    link_traces(container, run, ["b"])
    for filter, wanted in (
        ("prompt = 'my_prompt/1'", "a"),
        ("trace.prompt = 'my_prompt/11'", "b"),
        ("prompt = 'My_prompt/1'", ""),
        (f"metadata.`mlflow.sourceRun` = '{run}'", "b"),
    ):
        assert found(container, filter) == list(wanted), filter
    for refused in ("prompt = 'my_prompt'", "prompt LIKE 'my%'", "prompt = '/1'"):
        with pytest.raises(BadRequest):
            found(container, refused)
    for order, in_turn in (("tags.rank DESC", "cbad"), ("tag.rank", "abcd"), ("metadata.size ASC", "bacd")):
        ids, token = "", ""
        while True:
            page = search_traces(container, [0], order_by=[order], limit=2, token=token)
            ids, token = ids + "".join(one.id for one in page.items), page.token
            if not token:
                break
        assert ids == in_turn, order
