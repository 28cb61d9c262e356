"""``telemetry``: what a Prometheus and a Grafana beside Homeostat are given."""

from __future__ import annotations

import typer

from homeostat.cli.output import print_json


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Alert rules and a dashboard for your own monitoring.", no_args_is_help=True)
    group.command("prometheus-rules")(rules)
    group.command("grafana")(grafana)
    app.add_typer(group, name="telemetry")


def rules() -> None:
    """Print alert rules for Prometheus, over what /metrics of Homeostat exposes."""
    import yaml

    from homeostat.app.telemetry import prometheus_rules

    typer.echo(yaml.safe_dump(prometheus_rules(), sort_keys=False, width=1000), nl=False)


def grafana() -> None:
    """Print a dashboard for Grafana, to be imported there."""
    from homeostat.app.telemetry import grafana_dashboard

    print_json(grafana_dashboard())
