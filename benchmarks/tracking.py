"""Tracking over MLflow's protocol: the same calls against Homeostat and against MLflow's own server, by turns.

On SQLite, then on PostgreSQL. The official client logs and asks, in an environment of its own; only what the servers
use is counted. What the client would spend more on than the server, long answers, is asked for over plain HTTP. What
follows are figures of Homeostat alone: many runs, many clients, and `hs.log`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx

from benchmarks import runs
from benchmarks.many_runs import first_pages
from benchmarks.measure import Cost, Line, Section, duration, shown
from benchmarks.tracking_servers import Server, homeostat, middle, mlflow, postgresql
from tests.environments import python_of
from tests.mlflow.official import Client, Evaluator

_ROUNDS: Final = 5
_RUNS: Final = 5_000
_POINTS: Final = 100_000
_CLIENTS: Final = 64
_SECONDS: Final = 60
_LOG: Final = Path(__file__).with_name("many_clients.py")


def run() -> Section:
    """Both servers on both databases, then Homeostat alone."""
    lines: list[Line] = []
    with TemporaryDirectory(prefix="homeostat-bench-") as text, _evaluator(Path(text)) as evaluator:
        folder = Path(text)
        with homeostat(folder / "ours") as ours, mlflow(folder) as theirs:
            lines += _both(evaluator, ours, theirs, "SQLite")
            lines.append(_many_clients(ours))
        lines.append(_again(folder / "ours"))
        lines += first_pages(folder / "many", "", "SQLite") + _native(folder / "native", "", "SQLite")
        with postgresql() as database, ExitStack() as stack:
            ours = stack.enter_context(homeostat(folder / "ours-pg", database("ours")))
            theirs = stack.enter_context(mlflow(folder, database("theirs")))
            lines += _both(evaluator, ours, theirs, "PostgreSQL")
            stack.close()
            lines += first_pages(folder / "many-pg", database("many"), "PostgreSQL")
            lines += _native(folder / "native-pg", database("native"), "PostgreSQL")
    return Section(
        "Tracking",
        "MLflow's own client against Homeostat and against MLflow's server (one worker), by turns, medians of "
        f"{_ROUNDS} rounds. CPU is that of the server, with all its processes but PostgreSQL's. In Homeostat's column "
        "stands by how much it does better: in CPU time or, of long answers, in the time until they are there.",
        lines,
        bare="MLflow",
    )


def _both(evaluator: Evaluator, ours: Server, theirs: Server, where: str) -> list[Line]:
    both = [(Client(evaluator, server.url), server) for server in (ours, theirs)]
    for client, server in both:
        server.settle()
        client(_prepare)
    lines = [_line(f"start to healthy on an empty store, {where}", ours.start, theirs.start, wall=True)]
    for what, script, units, counts in (
        ("`log_metric`", _log_metrics, 1, (600, 60)),
        ("`log_batch` of 1,000 metrics, a metric", _log_batches, 1_000, (40, 3)),
        ("`get_run` of a run with 20 metrics, parameters and tags", _get_runs, 1, (400, 25)),
    ):
        costs: list[list[Cost]] = [[], []]
        for turn in range(_ROUNDS + 1):
            for (client, server), count, found in zip(both, counts, costs, strict=True):
                cost = server.cost(partial(client, script, count), units=count * units)
                if turn:  # the first warms up
                    found.append(cost)
        lines.append(_rate(f"{what}, {where}", *map(middle, costs)))
    lines += _long_answers(ours, theirs, where)
    memory = ours.memory(), theirs.memory()
    lines.append(
        Line(
            f"resident memory afterwards, of the process that answers, {where}",
            f"{memory[0] / 2**20:.0f} MiB",
            f"{memory[1] / 2**20:.0f} MiB",
            memory[0] / memory[1],
        )
    )
    return lines


def _long_answers(ours: Server, theirs: Server, where: str) -> list[Line]:
    asked = {}
    for server in (ours, theirs):
        with httpx.Client(base_url=f"{server.url}/api/2.0/mlflow/", timeout=300) as http:
            experiment = http.post("experiments/create", json={"name": "search"}).json()["experiment_id"]
            _fill(server, http, experiment)
            made = http.post("runs/create", json={"experiment_id": experiment, "start_time": 1}).json()["run"]
            _log_history(http, made["info"]["run_id"])
        asked[server.url] = experiment, made["info"]["run_id"]

    def search(server: Server) -> httpx.Response:
        body = {
            "experiment_ids": [asked[server.url][0]],
            "filter": "metrics.loss < 0.7 AND params.depth != '4'",
            "order_by": ["metrics.loss ASC"],
            "max_results": 1000,
        }
        return asking.post(f"{server.url}/api/2.0/mlflow/runs/search", json=body)

    def history(server: Server) -> httpx.Response:
        query = {"run_id": asked[server.url][1], "metric_key": "loss"}
        return asking.get(f"{server.url}/api/2.0/mlflow/metrics/get-history", params=query)

    with httpx.Client(timeout=300) as asking:
        for server in (ours, theirs):
            assert len(search(server).json()["runs"]) == 1000
            assert len(history(server).json()["metrics"]) == _POINTS
        return [
            _answer(f"1,000 of {_RUNS:,} runs by filter, ordered by a metric, {where}", search, ours, theirs),
            _answer(f"history of {_POINTS:,} points, {where}", history, ours, theirs),
        ]


def _answer(what: str, ask: Callable[[Server], object], ours: Server, theirs: Server) -> Line:
    def often(server: Server, times: int) -> None:
        for _ in range(times):
            ask(server)

    # Homeostat's takes few of the hundredths of a second in which CPU time is counted: ten of them are one turn.
    costs = [
        middle([server.cost(partial(often, server, times), units=times) for _ in range(rounds)])
        for server, rounds, times in ((ours, _ROUNDS, 10), (theirs, 2, 1))
    ]
    return _line(what, *costs, wall=True)


def _many_clients(server: Server) -> Line:
    command = [sys.executable, str(_LOG), server.url, str(_CLIENTS), str(_SECONDS)]
    told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    first = f": {told['first_error']}" if told["errors"] else ""
    return Line(
        f"{_CLIENTS} clients at once for {_SECONDS} s, SQLite",
        f"{told['calls'] / _SECONDS:,.0f} calls a second; {told['errors']} errors{first}; of "
        f"{told['points']:,} points acknowledged {told['lost']} lost",
    )


def _again(home: Path) -> Line:
    starts, memory = [], 0
    for _ in range(3):
        with homeostat(home) as server:
            starts.append(server.start)
            memory = server.memory()
    return Line(
        "start to healthy with what is there, the median of 3, and resident memory then, SQLite",
        f"{shown(middle(starts))}; {memory / 2**20:.0f} MiB",
    )


def _native(home: Path, store: str, where: str) -> list[Line]:
    with (
        homeostat(home / "home", store) as server,
        runs.environment(HOMEOSTAT_HOME=str(home / "client"), HOMEOSTAT_SERVER=server.url),
    ):
        found = [runs.durable(server.cpu, keys) for keys in (1, 20)]
    return [Line(f"`hs.log`: {line.what}, {where}", line.ours) for line in found]


def _prepare() -> None:
    """The run that is logged to, and the one that is read."""
    import mlflow
    from mlflow.entities import Metric, Param, RunTag

    client = mlflow.MlflowClient()
    experiment = client.create_experiment("bench")
    client.create_run(experiment, run_name="logged", start_time=1)
    read = client.create_run(experiment, run_name="read", start_time=2).info.run_id
    client.log_batch(
        read,
        [Metric(f"m{i}", i / 7, 1, 0) for i in range(20)],
        [Param(f"p{i}", str(i)) for i in range(20)],
        [RunTag(f"t{i}", str(i)) for i in range(20)],
    )


def _log_metrics(count: int) -> None:
    import time

    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("bench").experiment_id
    run = client.search_runs([experiment], "run_name = 'logged'")[0].info.run_id
    begin = time.time_ns() // 1000
    for step in range(count):
        client.log_metric(run, "loss", 1 / (step + 1), step=begin + step)


def _log_batches(count: int) -> None:
    import time

    import mlflow
    from mlflow.entities import Metric

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("bench").experiment_id
    run = client.search_runs([experiment], "run_name = 'logged'")[0].info.run_id
    begin = time.time_ns() // 1000
    for step in range(count):
        client.log_batch(run, [Metric("batch", i / 7, begin, begin + step * 1000 + i) for i in range(1000)])


def _get_runs(count: int) -> None:
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("bench").experiment_id
    run = client.search_runs([experiment], "run_name = 'read'")[0].info.run_id
    for _ in range(count):
        client.get_run(run)


def _fill(server: Server, http: httpx.Client, experiment: str) -> None:
    """Finished runs with five metrics, five parameters and three tags each, the same for both servers."""
    chance = random.Random(1)
    made: list[dict[str, Any]] = [
        {
            "id": f"{chance.getrandbits(128):032x}",
            "metrics": {name: chance.random() for name in ("loss", "accuracy", "f1", "auc", "seconds")},
            "params": {name: str(chance.randrange(5)) for name in ("depth", "rate", "seed", "size", "kind")},
            "tags": {name: str(chance.randrange(9)) for name in ("team", "stage", "place")},
        }
        for _ in range(_RUNS)
    ]
    if server.database:
        command = [str(python_of("peers")), str(Path(__file__).with_name("mlflow_runs.py")), server.database]
        asked = json.dumps({"experiment": experiment, "runs": made}).encode()
        subprocess.run(command, input=asked, check=True, env=os.environ)
        return
    for number, one in enumerate(made):
        answer = http.post("runs/create", json={"experiment_id": experiment, "start_time": number}).json()
        metrics = [{"key": k, "value": v, "timestamp": number, "step": 0} for k, v in one["metrics"].items()]
        params, tags = ([{"key": k, "value": v} for k, v in one[what].items()] for what in ("params", "tags"))
        body = {"run_id": answer["run"]["info"]["run_id"], "metrics": metrics, "params": params, "tags": tags}
        http.post("runs/log-batch", json=body).raise_for_status()


def _log_history(http: httpx.Client, run: str) -> None:
    for begin in range(0, _POINTS, 1000):
        numbers = range(begin, begin + 1000)
        metrics = [{"key": "loss", "value": i / 7, "timestamp": i, "step": i} for i in numbers]
        http.post("runs/log-batch", json={"run_id": run, "metrics": metrics}).raise_for_status()


@contextmanager
def _evaluator(folder: Path) -> Iterator[Evaluator]:
    evaluator = Evaluator(folder)
    try:
        yield evaluator
    finally:
        evaluator.stop()


def _line(what: str, ours: Cost, theirs: Cost, *, wall: bool = False) -> Line:
    times = theirs.wall / ours.wall if wall else theirs.cpu / ours.cpu
    return Line(what, f"{shown(ours)}: {times:.1f} × less", shown(theirs), ours.cpu / theirs.cpu)


def _rate(what: str, ours: Cost, theirs: Cost) -> Line:
    told = [
        f"{1 / cost.cpu:,.0f} a server CPU second ({duration(cost.wall)} wall each)"
        for cost in (ours, theirs)
    ]
    return Line(what, f"{told[0]}: {theirs.cpu / ours.cpu:.1f} × more", told[1], ours.cpu / theirs.cpu)
