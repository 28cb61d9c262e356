"""What a Prometheus and a Grafana beside Homeostat are given: alert rules and a dashboard, over what it exposes."""

from __future__ import annotations

from typing import Any, Final

from homeostat.app.slos import alerting
from homeostat.app.space import LEAST
from homeostat.domain.durations import format_duration
from homeostat.engine.control.burn import RULES

_OF: Final = "deployment, level"


def prometheus_rules() -> dict[str, Any]:
    """Alert rules: budgets that burn, as Homeostat pages for them itself, and what it cannot tell when it is down."""
    rules = []
    for rule in RULES:
        long, short = format_duration(rule.long), format_duration(rule.short)
        of = f'level=~"{"|".join(sorted(alerting(rule.severity)))}"'
        rules.append(
            _rule(
                f"HomeostatErrorBudgetBurn{long}",
                f'(homeostat_slo_burn_rate{{window="{long}", {of}}} >= {rule.factor:g})'
                f" and on ({_OF}) "
                f'(homeostat_slo_burn_rate{{window="{short}", {of}}} >= {rule.factor:g})',
                rule.severity,
                "{{ $labels.deployment }} burns its {{ $labels.level }} budget {{ $value | humanize }} times too fast",
            )
        )
    rules += [
        _rule("HomeostatDown", "absent(homeostat_build_info)", "page", "No control process answers", "2m"),
        _rule(
            "HomeostatNotTurning",
            "rate(homeostat_tick_seconds_count[5m]) == 0",
            "page",
            "The controller has not turned for five minutes",
            "5m",
        ),
        _rule(
            "HomeostatTrainingsWait",
            "homeostat_trainings_queue_age_seconds > 3600",
            "ticket",
            "A training waits for {{ $value | humanizeDuration }}: set HOMEOSTAT_TRAININGS to more, or see what runs",
            "10m",
        ),
        _rule(
            "HomeostatDiskFull",
            f"homeostat_disk_free_bytes < {2 * LEAST}",
            "page",
            "{{ $value | humanize1024 }}B are left on a disk of Homeostat",
            "5m",
        ),
        _rule(
            "HomeostatChannelUnreachable",
            "homeostat_channel_failures >= 3",
            "ticket",
            "Channel {{ $labels.channel }} takes no alerts",
            "5m",
        ),
        _rule(
            "HomeostatPredictionsNotLogged",
            "increase(homeostat_log_dropped_total[10m]) > 0",
            "ticket",
            "Predictions did not fit into the log's buffer",
        ),
        _rule(
            "HomeostatPageUnacknowledged",
            'homeostat_alerts{severity="page", acknowledged="false"} > 0',
            "page",
            "{{ $value }} pages that nobody looks after",
            "15m",
        ),
    ]
    return {"groups": [{"name": "homeostat", "rules": rules}]}


def grafana_dashboard() -> dict[str, Any]:
    """A dashboard in Grafana's JSON model, over a Prometheus that is chosen when it is imported."""
    panels = [
        _stat(
            "Error budget left",
            "min by (deployment) (homeostat_slo_error_budget_remaining_ratio)",
            "percentunit",
        ),
        _stat("Open pages", 'sum(homeostat_alerts{severity="page"})', "none"),
        _stat("Model servers", 'homeostat_processes{role="worker"}', "none"),
        _stat("Trainings under way", "sum(homeostat_trainings)", "none"),
        _series(
            "Error budget left",
            'homeostat_slo_error_budget_remaining_ratio{deployment=~"$deployment"}',
            "{{deployment}} {{level}}",
            "percentunit",
        ),
        _series(
            "Burn rate over an hour",
            'homeostat_slo_burn_rate{deployment=~"$deployment", window="1h"}',
            "{{deployment}} {{level}}",
            "none",
            threshold=RULES[0].factor,
        ),
        _series(
            "Rows a second",
            'sum by (deployment) (rate(homeostat_rows_total{deployment=~"$deployment"}[5m]))',
            "{{deployment}}",
            "reqps",
        ),
        _series(
            "Time to answer, 99th percentile",
            "histogram_quantile(0.99, sum by (le, protocol) (rate(homeostat_request_seconds_bucket[5m])))",
            "{{protocol}}",
            "s",
        ),
        _series(
            "Rows that no version could score",
            'sum by (deployment) (rate(homeostat_errors_total{deployment=~"$deployment"}[5m]))',
            "{{deployment}}",
            "reqps",
        ),
        _series(
            "Rows in the queue", 'homeostat_waiting_rows{deployment=~"$deployment"}', "{{deployment}}", "none"
        ),
        _series(
            "Monitors",
            'homeostat_monitor_value{deployment=~"$deployment"}',
            "{{deployment}} {{monitor}}",
            "none",
        ),
        _series(
            "Share of the traffic",
            'homeostat_deployment_weight{deployment=~"$deployment"}',
            "{{deployment}}@{{version}} {{role}}",
            "percentunit",
        ),
        _series("Age of data", "homeostat_dataset_age_seconds", "{{dataset}}", "s"),
        _series(
            "Turn of the controller, 99th percentile",
            "histogram_quantile(0.99, sum by (le) (rate(homeostat_tick_seconds_bucket[5m])))",
            "turn",
            "s",
        ),
        _series("Rules that fire", "homeostat_rule_fired", "{{model}}: {{rule}}", "none"),
        _series("Models whose rules are due", "homeostat_rules_due", "due", "none"),
        _series("Trainings", "homeostat_trainings", "{{state}}", "none"),
        _series("Longest wait for a training", "homeostat_trainings_queue_age_seconds", "waits", "s"),
        _series("Space left on the fullest disk", "homeostat_disk_free_bytes", "free", "bytes"),
    ]
    return {
        "__inputs": [
            {
                "name": "DS_PROMETHEUS",
                "label": "Prometheus",
                "type": "datasource",
                "pluginId": "prometheus",
                "pluginName": "Prometheus",
            }
        ],
        "title": "Homeostat",
        "uid": "homeostat",
        "tags": ["homeostat"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [_variable()]},
        "annotations": {"list": []},
        "panels": [_placed(number, panel) for number, panel in enumerate(panels)],
    }


def _rule(name: str, expression: str, severity: str, summary: str, lasting: str = "") -> dict[str, Any]:
    rule: dict[str, Any] = {"alert": name, "expr": expression}
    if lasting:
        rule["for"] = lasting
    return rule | {"labels": {"severity": severity}, "annotations": {"summary": summary}}


_SOURCE: Final = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}


def _variable() -> dict[str, Any]:
    return {
        "name": "deployment",
        "label": "Deployment",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": "label_values(homeostat_deployment_weight, deployment)", "refId": "deployment"},
        "definition": "label_values(homeostat_deployment_weight, deployment)",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(kind: str, title: str, expression: str, unit: str, legend: str) -> dict[str, Any]:
    return {
        "type": kind,
        "title": title,
        "datasource": _SOURCE,
        "targets": [{"refId": "A", "datasource": _SOURCE, "expr": expression, "legendFormat": legend}],
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "options": {},
    }


def _stat(title: str, expression: str, unit: str) -> dict[str, Any]:
    panel = _panel("stat", title, expression, unit, "{{deployment}}")
    return panel | {"options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none"}}


def _series(
    title: str, expression: str, legend: str, unit: str, *, threshold: float | None = None
) -> dict[str, Any]:
    panel = _panel("timeseries", title, expression, unit, legend)
    if threshold is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": threshold}]
        panel["fieldConfig"]["defaults"] |= {
            "thresholds": {"mode": "absolute", "steps": steps},
            "custom": {"thresholdsStyle": {"mode": "line"}},
        }
    return panel


def _placed(number: int, panel: dict[str, Any]) -> dict[str, Any]:
    """Four numbers in a row, then two charts a row."""
    if number < 4:
        place = {"h": 4, "w": 6, "x": 6 * number, "y": 0}
    else:
        place = {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 4 + 8 * ((number - 4) // 2)}
    return {"id": number + 1, "gridPos": place} | panel
