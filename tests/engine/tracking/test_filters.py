"""The language of filters and orders: what is written comes back, and what cannot be is told in MLflow's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from homeostat.domain.errors import BadRequest
from homeostat.engine.tracking.filters import complete, on_datasets, ordered, parse, parse_order
from homeostat.engine.tracking.kinds import (
    ALIASES,
    EXPERIMENTS,
    LOGGED_MODELS,
    MODELS,
    RUNS,
    TRACES,
    VERSIONS,
    Kind,
)
from homeostat.engine.tracking.language import unquoted
from homeostat.ports.search import Comparison, Order

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
QUOTE = st.sampled_from(["'", '"'])
NUMBER = st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False)
TEXTUAL = st.sampled_from(["=", "!=", "LIKE", "ILIKE"])
NUMERIC = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])


def quoted(text: str, quote: str) -> str:
    return quote + text.replace(quote, quote * 2) + quote


@st.composite
def clauses(draw: st.DrawFn) -> tuple[str, Comparison]:
    """A comparison and one of the ways to write it."""
    name = draw(st.sampled_from(sorted(ALIASES)))
    entity = ALIASES[name]
    if entity == "attribute":
        name, key = "attributes", "name"
        written = draw(st.sampled_from(["run_name", "attr.run_name", "`Run name`", "run.`run_name`"]))
    elif entity == "dataset":
        key = draw(st.sampled_from(["name", "digest", "context"]))
        written = f"{name}.{key}"
    else:
        key = draw(st.from_regex(r"\A[a-z][\w./:-]{0,8}\Z") | TEXT)
        plain = key.isascii() and key[:1].isalpha() and all(c.isalnum() or c in "._/-:" for c in key)
        quote = draw(st.sampled_from(["'", '"', "`"] + [""] * plain))
        written = f"{name}.{quoted(key, quote) if quote else key}"
    spaces = draw(st.sampled_from([" ", "  ", "\n", "\t "]))
    if entity == "metric":
        op, value = draw(NUMERIC), draw(NUMBER)
        return f"{written}{op}{spaces}{value!r}", Comparison(entity, key, op, value)
    if entity in ("tag", "param") and draw(st.booleans()):
        null = draw(st.sampled_from(["IS NULL", "IS NOT NULL", "is null", "is  not null"]))
        return f"{written} {null}", Comparison(entity, key, " ".join(null.upper().split()))  # type: ignore[arg-type]
    if draw(st.booleans()):
        values = draw(st.lists(TEXT, min_size=1, max_size=3))
        op = draw(st.sampled_from(["IN", "NOT IN"]))
        listed = ", ".join(quoted(value, draw(QUOTE)) for value in values)
        return f"{written} {op}{spaces}({listed})", Comparison(entity, key, op, tuple(values))
    op, value = draw(TEXTUAL), draw(TEXT)
    shown = draw(st.sampled_from([op, op.lower()]))
    return f"{written}{spaces}{shown}{spaces}{quoted(value, draw(QUOTE))}", Comparison(entity, key, op, value)


@given(st.lists(clauses(), min_size=1, max_size=4), st.sampled_from([" AND ", " and ", "\nAnD\n"]))
def test_what_is_written_comes_back(given_: list[tuple[str, Comparison]], join: str) -> None:
    text = join.join(written for written, _ in given_)
    assert parse(text, RUNS) == tuple(comparison for _, comparison in given_)


@given(TEXT, st.sampled_from(["'", '"', "`"]))
def test_quotes_inside_are_doubled(text: str, quote: str) -> None:
    assert unquoted(quoted(text, quote)) == text


@given(st.text(max_size=60) | st.lists(st.sampled_from([*"a.='\"`<>() ,;1-", "AND", "IN"])).map("".join))
@example("a" * 99_999)
@example("(" * 5000)
@example("'" * 5001)
@example("a=" * 5000)
@example("\ud800 = 1")
def test_no_text_breaks_the_parser(text: str) -> None:
    for kind in (RUNS, EXPERIMENTS, MODELS):
        told("filter", parse, text, kind)
        told("order_by", parse_order, [text], kind)


def told(field: str, work: Callable[..., object], *given_: object) -> None:
    """Whatever happens, it is an error that names the field and a remedy, or none."""
    error = None
    try:
        work(*given_)
    except BadRequest as caught:
        error = caught
    assert error is None or (error.field == field and error.remedy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metrics.A > 0.1 OR params.B = 'LR'", r"Invalid clause\(s\) in filter string"),
        ("metrics.A > 0.1 NAND params.B = 'LR'", r"Invalid clause\(s\) in filter string"),
        ("metrics.A > 0.1 AND (params.B = 'LR')", r"Invalid clause\(s\) in filter string"),
        ("metrics.A > 0.1 AND", r"Invalid clause\(s\) in filter string"),
        ("`metrics.A > 0.1", r"Invalid clause\(s\) in filter string"),
        ("param`.A > 0.1", r"Invalid clause\(s\) in filter string"),
        ("params.'acc = LR", r"Invalid clause\(s\) in filter string"),
        ("params.acc = 'LR", r"Invalid clause\(s\) in filter string"),
        ("params.acc = LR'", r"Invalid clause\(s\) in filter string"),
        ("tags.acc = = 'LR'", r"Invalid clause\(s\) in filter string"),
        ("params.acc LR !=", r"Invalid clause\(s\) in filter string"),
        ("metric.acc !=", r"Invalid clause\(s\) in filter string"),
        ("attribute.status IS 'RUNNING'", r"Invalid clause\(s\) in filter string"),
        ("metric.acc >= 0.94; metrics.rmse < 1", "Search filter contained multiple expression"),
        ("m.acc >= 0.94", "Invalid entity type 'm'"),
        ("acc >= 0.94", "Invalid attribute key 'acc'"),
        ("attribute.start != 1", "Invalid attribute key 'start'"),
        ("foo = 'null'", "Invalid attribute key 'foo'"),
        ("dataset.source = 'x'", "Invalid dataset key 'source'"),
        ("attribute.start_time != 'now'", "Expected numeric value type for numeric attribute: start_time"),
        ("metrics.acc > test", "Expected numeric value type for metric. Found test"),
        ("metrics.acc > '1'", "Expected numeric value type for metric"),
        ("metrics.acc IN ('1')", "Invalid comparator 'IN' not one of"),
        ("metrics.acc LIKE '1'", "Invalid comparator 'LIKE' not one of"),
        ("params.acc > '1'", "Invalid comparator '>' not one of"),
        ("params.acc == '1'", "Invalid comparator '==' not one of"),
        ("params.acc = LR", "value is either not quoted or unidentified quote types"),
        ("tags.acc = `LR`", "value is either not quoted or unidentified quote types"),
        ("params.acc = 1", "Expected a quoted string value for parameter"),
        ("attribute.status = 1", "Expected a quoted string value for attributes"),
        ("1=1", "Expected 'Identifier' found '1'"),
        ("'a'='a'", "Expected 'Identifier' found"),
        ("metrics.a IS NULL", "IS NULL / IS NOT NULL is only supported for tags and params"),
        ("run_id IN ()", "expected a non-empty list of string values, but got empty list"),
        ("run_id IN (,)", "but got ill-formed list"),
        ("run_id IN ('a',,'b')", "but got ill-formed list"),
        ("run_id IN ('a' 'b')", "but got ill-formed list"),
        ("run_id IN ('a', 1)", "but got different type in list"),
        ("run_id = 'a\0'", "it holds NUL"),
        (f"run_id LIKE '{'%' * 10_001}'", "The pattern has 10001 characters"),
        (" AND ".join(["metrics.a > 1"] * 101), "Invalid filter: it has 101 comparisons"),
        (f"run_id IN ({','.join(['1'.join(chr(39) * 2)] * 10_001)})", "lists of 10001 texts"),
        ("a" * 100_001, "Invalid filter: it has 100001 characters"),
    ],
)
def test_what_cannot_be_is_named(text: str, message: str) -> None:
    with pytest.raises(BadRequest, match=message) as caught:
        parse(text, RUNS)
    assert caught.value.field == "filter"
    assert caught.value.remedy


def only(text: str, kind: Kind) -> Comparison:
    (found,) = parse(text, kind)
    return found


def test_states_are_called_as_the_wire_calls_them() -> None:
    states: dict[str, Any] = {
        "status = 'RUNNING'": ("running",),
        "status != 'RUNNING'": ("queued", "succeeded", "failed", "cancelled"),
        "attributes.status IN ('FAILED', 'KILLED')": ("failed", "cancelled"),
        "status NOT IN ('FAILED', 'KILLED', 'nothing')": ("queued", "running", "succeeded"),
        "status LIKE 'F%'": ("succeeded", "failed"),
        "status LIKE 'f%'": (),
        "status ILIKE 'f_iled'": ("failed",),
        "status LIKE '%_%N_S%ED'": ("succeeded",),
        f"status LIKE '{'%_' * 4}{'%' * 200}x'": (),
    }
    for text, wanted in states.items():
        assert only(text, RUNS) == Comparison("attribute", "state", "IN", wanted)


def test_each_kind_has_names_of_its_own() -> None:
    assert only("created > 5", RUNS) == Comparison("attribute", "started_at", ">", 5)
    assert only("end_time <= 1.5", RUNS) == Comparison("attribute", "ended_at", "<=", 1.5)
    assert only("experiment_id IN ('1', '-2')", EXPERIMENTS) == Comparison("attribute", "id", "IN", (1, -2))
    assert only("last_update_time >= 7", EXPERIMENTS) == Comparison("attribute", "updated_at", ">=", 7)
    assert only("params.a ILIKE 'x'", LOGGED_MODELS) == Comparison("param", "a", "ILIKE", "x")
    assert only("source_run_id = 'r'", LOGGED_MODELS) == Comparison("attribute", "run", "=", "r")
    for number in ("2", "'2'", '"2"'):
        found = parse(f"version_number >= {number}", VERSIONS)[0]
        assert found == Comparison("attribute", "version", ">=", 2)
    for text in ("trace.text LIKE '%a%'", "span.content LIKE '%a%'"):
        assert parse(text, TRACES) == (Comparison("text", "spans", "LIKE", "%a%"),)
    assert parse("source_path LIKE 's3://%'", VERSIONS)[0] == Comparison(
        "attribute", "source", "LIKE", "s3://%"
    )
    for text, kind in [
        ("metrics.a > 1", EXPERIMENTS),
        ("params.a = '1'", MODELS),
        ("dataset.name = '1'", LOGGED_MODELS),
        ("start_time > 1", VERSIONS),
        ("experiment_id > '1'", EXPERIMENTS),
        ("experiment_id = 'one'", EXPERIMENTS),
        ("version_number = 'one'", VERSIONS),
        ("start_time > '1'", RUNS),
        ("trace.text = 'a'", TRACES),
        ("text LIKE 'a'", RUNS),
    ]:
        with pytest.raises(BadRequest):
            parse(text, kind)


def test_prompts_are_found_by_who_asks_for_them() -> None:
    hidden = Comparison("tag", "mlflow.prompt.is_prompt", "LACKS", "true")
    shown = Comparison("tag", "mlflow.prompt.is_prompt", "=", "true")
    assert parse("", MODELS) == (hidden,)
    assert parse("name = 'a'", VERSIONS) == (Comparison("attribute", "model", "=", "a"), hidden)
    assert parse("tags.`mlflow.prompt.is_prompt` = 'true'", MODELS) == (shown,)
    for text in ("= 'false'", "!= 'true'"):
        assert parse(f"tags.`mlflow.prompt.is_prompt` {text}", MODELS) == (hidden,)
    assert parse("", RUNS) == ()


def test_orders() -> None:
    newest, by_id = Order("attribute", "started_at", True), Order("attribute", "id")
    assert parse_order([], RUNS) == (newest, by_id)
    assert parse_order(["metrics.`a b` DESC", "params.x"], RUNS) == (
        Order("metric", "a b", True),
        Order("param", "x"),
        newest,
        by_id,
    )
    assert parse_order(["start_time asc"], RUNS) == (Order("attribute", "started_at"), by_id)
    assert parse_order(["name"], EXPERIMENTS) == (Order("attribute", "name"), Order("attribute", "id", True))
    assert parse_order(["timestamp DESC"], MODELS) == (
        Order("attribute", "updated_at", True),
        Order("attribute", "name"),
    )
    assert parse_order(["version_number"], VERSIONS)[:2] == (
        Order("attribute", "version"),
        Order("attribute", "model"),
    )
    on = ("data", "d1")
    term = ordered("metrics.loss", LOGGED_MODELS, descending=True, on=on)
    assert term == Order("metric", "loss", True, on)
    assert complete([term], LOGGED_MODELS)[1:] == (Order("attribute", "created_at", True), by_id)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (["metrics.a sideways"], "Invalid order_by clause"),
        (["metrics.a DESC DESC"], "Invalid order_by clause"),
        ([""], "Invalid order_by clause"),
        (["acc"], "Invalid order_by clause: Invalid attribute key 'acc'"),
        (["m.acc"], "Invalid entity type 'm'"),
        (["dataset.name"], "Invalid order_by entity 'dataset'"),
        (["metrics.a", "metric.a DESC"], "`order_by` contains duplicate fields"),
        (["metrics.a", "metric.a"], "`order_by` contains duplicate fields"),
        ([f"metrics.a{number}" for number in range(21)], "Invalid order_by: it has 21 terms"),
    ],
)
def test_orders_that_cannot_be(terms: list[str], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        parse_order(terms, RUNS)


def test_metrics_on_datasets() -> None:
    on = (("a", ""), ("b", "1"))
    loss = Comparison("metric", "loss", "<", 1)
    name = Comparison("attribute", "name", "=", "x")
    assert on_datasets([loss, name], []) == (loss, name)
    assert on_datasets([loss, name], on) == (Comparison("metric", "loss", "<", 1, on), name)
    assert on_datasets([name], on) == (name, Comparison("metric", "", "IS NOT NULL", None, on))
