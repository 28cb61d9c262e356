"""Many clients of MLflow's protocol at once, in a few processes: ``python many_clients.py URL CLIENTS SECONDS``.

Each logs metrics, batches, parameters and tags to a run of its own and to one that all share, and reads in
between. What was acknowledged is counted, and compared with what the server has in the end. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any

_PROCESSES = 4


class Calls:
    """A connection."""

    def __init__(self, address: str) -> None:
        self._connection = HTTPConnection(address, timeout=120)

    def __call__(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"}
        self._connection.request(method, f"/api/2.0/mlflow/{path}", data, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {content[:300].decode(errors='replace')}")
        found: dict[str, Any] = json.loads(content)
        return found


def client(address: str, number: int, shared: str, until: float) -> dict[str, Any]:
    """One client: how many points each run acknowledged, how many calls it took, what failed."""
    call = Calls(address)
    points: Counter[tuple[str, str]] = Counter()
    calls, errors = 0, []
    own = call("POST", "runs/create", {"experiment_id": "0", "start_time": number})["run"]["info"]["run_id"]
    step = 0
    while time.time() < until:
        step += 1
        run = shared if step % 4 == 0 else own
        key = f"m{number}"
        point = {"key": key, "value": step / 7, "timestamp": step, "step": step}
        try:
            if step % 10 == 0:
                batch = [point | {"key": f"batch{number}", "step": step * 100 + i} for i in range(100)]
                tags = [{"key": f"t{number}", "value": str(step)}]
                call("POST", "runs/log-batch", {"run_id": run, "metrics": batch, "tags": tags})
                points[run, f"batch{number}"] += 100
            elif step % 10 == 5:
                body = {"run_id": run, "key": f"p{number}.{step}", "value": "v"}
                call("POST", "runs/log-parameter", body)
            elif step % 10 == 7:
                call("GET", f"runs/get?run_id={own}")
            else:
                call("POST", "runs/log-metric", {"run_id": run} | point)
                points[run, key] += 1
            calls += 1
        except (RuntimeError, OSError) as error:
            errors.append(repr(error))
            call = Calls(address)
    return {"points": [[*which, count] for which, count in points.items()], "calls": calls, "errors": errors}


def several(address: str, numbers: list[int], shared: str, until: float) -> list[dict[str, Any]]:
    """The clients of one process."""
    with ThreadPoolExecutor(len(numbers)) as pool:
        return list(pool.map(lambda number: client(address, number, shared, until), numbers))


def main() -> None:
    address, clients, seconds = sys.argv[1].removeprefix("http://"), int(sys.argv[2]), float(sys.argv[3])
    call = Calls(address)
    shared = call("POST", "runs/create", {"experiment_id": "0", "start_time": 1})["run"]["info"]["run_id"]
    until = time.time() + seconds
    groups = [list(range(first, clients, _PROCESSES)) for first in range(_PROCESSES)]
    with ProcessPoolExecutor(_PROCESSES) as pool:
        done = [pool.submit(several, address, numbers, shared, until) for numbers in groups]
        results = [one for group in done for one in group.result()]
    lost = 0
    for result in results:
        for run, key, count in result["points"]:
            found = call("GET", f"metrics/get-history?run_id={run}&metric_key={key}").get("metrics", [])
            lost += abs(count - len(found))
    errors = [error for result in results for error in result["errors"]]
    told = {
        "calls": sum(result["calls"] for result in results),
        "points": sum(count for result in results for *_, count in result["points"]),
        "errors": len(errors),
        "first_error": errors[0] if errors else "",
        "lost": lost,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
