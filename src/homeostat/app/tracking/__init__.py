"""Tracking: experiments, runs, what is logged to them, and the search among them.

Use cases only, one transaction each. ``log_in``, ``add_run`` and their like do the same in a transaction that is open
already, for use cases that change more than tracking.
"""

from homeostat.app.tracking.experiments import (
    create_experiment,
    delete_experiment,
    experiment,
    experiment_by_name,
    experiment_tags,
    rename_experiment,
    restore_experiment,
    tag_experiment,
    untag_experiment,
)
from homeostat.app.tracking.inputs import log_inputs, log_outputs
from homeostat.app.tracking.logs import log, log_soon, tag_run, untag_run
from homeostat.app.tracking.models import note_model
from homeostat.app.tracking.reading import RunData, histories, history, logged, run_data
from homeostat.app.tracking.runs import create_run, delete_run, restore_run, run, update_run
from homeostat.app.tracking.search import View, search_experiments, search_runs

__all__ = [
    "RunData",
    "View",
    "create_experiment",
    "create_run",
    "delete_experiment",
    "delete_run",
    "experiment",
    "experiment_by_name",
    "experiment_tags",
    "histories",
    "history",
    "log",
    "log_inputs",
    "log_outputs",
    "log_soon",
    "logged",
    "note_model",
    "rename_experiment",
    "restore_experiment",
    "restore_run",
    "run",
    "run_data",
    "search_experiments",
    "search_runs",
    "tag_experiment",
    "tag_run",
    "untag_experiment",
    "untag_run",
    "update_run",
]
