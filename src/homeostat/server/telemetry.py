"""What the control process knows, in Prometheus' exposition format: budgets, monitors, alerts, channels, data, itself.

Everything but the process's own numbers is read from the store when somebody asks. Ages and times are in seconds,
shares are ratios, as Prometheus has them. The rules and the dashboard of ``homeostat.app.telemetry`` use these names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from homeostat.app.code import declared
from homeostat.app.operating import operation
from homeostat.app.slos import Standing, standings
from homeostat.app.space import least_free
from homeostat.app.telling import channels
from homeostat.app.triggers import due
from homeostat.app.workers import workers
from homeostat.domain import records
from homeostat.domain.declarations import Model
from homeostat.domain.durations import format_duration
from homeostat.domain.errors import NotFound
from homeostat.domain.release import VERSION
from homeostat.engine.control.burn import RULES

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Histogram
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.metrics_core import Metric

    from homeostat.app.container import Container
    from homeostat.ports.meta import Where

_DAY: Final = timedelta(days=1)
_TICKS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Telemetry:
    """The registry of one control process.

    Args:
        container: The ports.

    Attributes:
        registry: What is scraped.
        ticks: Counts turns, and how long they take.
        began: Since when, in real time.
    """

    def __init__(self, container: Container) -> None:
        from prometheus_client import CollectorRegistry, Histogram, ProcessCollector

        self.began = container.clock.wall()
        self.registry: CollectorRegistry = CollectorRegistry()
        self.ticks: Histogram = Histogram(
            "homeostat_tick_seconds",
            "Turns of the controller.",
            buckets=_TICKS,
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        self.registry.register(Stored(container))

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Everything as text, and its media type: OpenMetrics where the scraper prefers it."""
        from prometheus_client.exposition import choose_encoder

        encode, media = choose_encoder(accept)
        return encode(self.registry), media


class Stored:
    """Reads the store at each scrape."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def describe(self) -> Iterable[Metric]:
        """Nothing: looking is what tells."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        container, store = self._container, self._container.store
        build = _gauge("build_info", "Which Homeostat this is; always 1.", ["version"])
        build.add_metric([VERSION], 1)
        yield build
        head = _counter("ledger_events", "Events in the ledger.", [])
        head.add_metric([], container.ledger.head().seq)
        yield head
        yield from _levels(_standings(container))
        yield from self._monitors()
        open_ones = store.find(records.Alert, ("state", "=", "open"))
        alerts = _gauge("alerts", "Open alerts.", ["severity", "acknowledged"])
        for severity in ("page", "ticket"):
            for acknowledged in (False, True):
                count = sum(
                    one.severity == severity and (one.acknowledged_at is not None) == acknowledged
                    for one in open_ones
                )
                alerts.add_metric([severity, str(acknowledged).lower()], count)
        yield alerts
        waiting = _gauge(
            "deliveries_waiting", "Transitions of alerts that a channel has yet to take.", ["channel"]
        )
        failures = _gauge("channel_failures", "Attempts in a row that a channel did not take.", ["channel"])
        for one in channels(container):
            waiting.add_metric([one.name], one.waiting)
            failures.add_metric([one.name], one.failures)
        yield from (waiting, failures)
        yield from self._work()
        yield from self._control()
        yield from self._data()
        yield from self._serving()

    def _monitors(self) -> Iterator[Metric]:
        value = _gauge("monitor_value", "The newest window of a monitor.", ["deployment", "monitor"])
        threshold = _gauge("monitor_threshold", "What it is judged by.", ["deployment", "monitor"])
        rows = _gauge("monitor_rows", "Rows that it rests on.", ["deployment", "monitor"])
        for deployment in self._container.store.find(records.Deployment):
            for window in _newest(self._container, deployment.name):
                name = window.monitor
                rows.add_metric([deployment.name, name], window.rows)
                if window.value is not None:
                    value.add_metric([deployment.name, name], window.value)
                if window.threshold is not None:
                    threshold.add_metric([deployment.name, name], window.threshold)
        yield from (value, threshold, rows)

    def _work(self) -> Iterator[Metric]:
        store = self._container.store
        runs = _gauge("trainings", "Trainings that are on their way.", ["state"])
        for state in ("queued", "running"):
            runs.add_metric([state], store.count(records.Run, ("kind", "=", "train"), ("state", "=", state)))
        processes = _gauge("processes", "Processes that hold a lease.", ["role"])
        roles = Counter(lease.role for lease in store.find(records.Lease))
        for role in ("control", "worker", "job"):
            processes.add_metric([role], roles[role])
        weight = _gauge(
            "deployment_weight", "The share of the traffic of a version.", ["deployment", "version", "role"]
        )
        for deployment in store.find(records.Deployment):
            for arm in deployment.arms:
                weight.add_metric([deployment.name, str(arm.version), arm.role], arm.weight)
        yield from (runs, processes, weight)

    def _control(self) -> Iterator[Metric]:
        """What the controller has before it: rules that are due, how each stood last, trainings that wait, space."""
        container, store = self._container, self._container.store
        now = container.clock.now()
        due_ones = _gauge("rules_due", "Models whose rules are to be looked at.", [])
        fired = _gauge("rule_fired", "Whether a rule fired at the newest look.", ["model", "rule"])
        age = _gauge("rules_looked_age_seconds", "Time since the rules were looked at.", ["model"])
        models = _ruled(container)
        due_ones.add_metric([], sum(due(container, one) for one in models))
        for one in models:
            found = store.find(records.Evaluation, ("trigger", "=", one.name), order=["-at"], limit=50)
            for look in [each for each in found if each.at == found[0].at]:
                fired.add_metric([one.name, look.rule], float(look.fired))
            if found:
                age.add_metric([one.name], (now - found[0].at).total_seconds())
        limit = _gauge("trainings_limit", "Trainings that may run at once.", [])
        limit.add_metric([], container.settings.trainings)
        waits = _gauge(
            "trainings_queue_age_seconds", "How long the training waits that waits the longest.", []
        )
        queued = store.find(
            records.Run, ("kind", "=", "train"), ("state", "=", "queued"), order=["created_at"]
        )
        waits.add_metric([], (now - queued[0].created_at).total_seconds() if queued else 0.0)
        disk = _gauge("disk_free_bytes", "What is left on the fullest disk that anything is kept on.", [])
        disk.add_metric([], least_free(container.settings)[0])
        yield from (due_ones, fired, age, limit, waits, disk)

    def _data(self) -> Iterator[Metric]:
        now = self._container.clock.now()
        rows = _gauge("dataset_rows", "Rows of a dataset.", ["dataset"])
        age = _gauge("dataset_age_seconds", "Time since the newest rows came.", ["dataset"])
        for one in self._container.store.find(records.Dataset):
            rows.add_metric([one.name], one.rows)
            if one.arrived_at is not None:
                age.add_metric([one.name], (now - one.arrived_at).total_seconds())
        yield from (rows, age)

    def _serving(self) -> Iterator[Metric]:
        cpu = _counter("serving_cpu_seconds", "Time of processors that a model server took.", ["worker"])
        for lease in workers(self._container):
            if "cpu" in lease.detail:
                cpu.add_metric([lease.subject.partition("/")[2]], lease.detail["cpu"])
        found = operation(self._container)
        busy = _gauge(
            "serving_busy_ratio", "Processors that model servers kept busy, of one each, over a day.", []
        )
        cost = _gauge("serving_cost_per_1000", "Cost of 1,000 predictions over a day.", ["currency"])
        if found.busy is not None:
            busy.add_metric([], found.busy)
        if found.cost_per_1000 is not None:
            cost.add_metric([found.currency], found.cost_per_1000)
        yield from (cpu, busy, cost)


def _newest(container: Container, deployment: str) -> Iterator[records.Window]:
    """The newest window of each monitor that is still looked at: within twice its window and a day of any other.

    From one monitor to the next by the key, however many windows each has.
    """
    store = container.store
    of: Where = ("deployment", "=", deployment)
    newest: list[records.Window] = []
    after = ""
    while found := store.find(records.Window, of, ("monitor", ">", after), order=["monitor"], limit=1):
        after = found[0].monitor
        newest += store.find(records.Window, of, ("monitor", "=", after), order=["-end"], limit=1)
    last = max((window.end for window in newest), default=None)
    for window in newest:
        if last is not None and last - window.end <= 2 * (window.end - window.start) + _DAY:
            yield window


def _ruled(container: Container) -> list[Model]:
    """The models that have rules."""
    try:
        return [one for one in declared(container).models.values() if one.retrain is not None]
    except NotFound:  # nothing is applied yet
        return []


def _standings(container: Container) -> list[Standing]:
    try:
        return standings(container)
    except NotFound:  # nothing is applied yet
        return []


def _levels(found: list[Standing]) -> Iterator[Metric]:
    of = ["deployment", "level"]
    objective = _gauge("slo_objective_ratio", "The share of good events that is promised.", of)
    good = _gauge("slo_good_ratio", "The share of good events over the period.", of)
    left = _gauge("slo_error_budget_remaining_ratio", "What is left of the error budget.", of)
    burn = _gauge("slo_burn_rate", "How fast the error budget burns, over a window.", [*of, "window"])
    for one in found:
        for level in one.levels:
            labels = [one.deployment, level.level]
            objective.add_metric(labels, level.objective)
            if level.good is None or level.budget_left is None:
                continue
            good.add_metric(labels, level.good)
            left.add_metric(labels, level.budget_left)
            rates: dict[str, float] = {}
            for rule, found_burn in zip(RULES, level.burns, strict=True):
                rates[format_duration(rule.short)] = found_burn.short_rate
                rates[format_duration(rule.long)] = found_burn.rate
            for window, rate in rates.items():
                burn.add_metric([*labels, window], rate)
    yield from (objective, good, left, burn)


def _gauge(name: str, text: str, labels: list[str]) -> GaugeMetricFamily:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"homeostat_{name}", text, labels=labels)


def _counter(name: str, text: str, labels: list[str]) -> CounterMetricFamily:
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(f"homeostat_{name}", text, labels=labels)
