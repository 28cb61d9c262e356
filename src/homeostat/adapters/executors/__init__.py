"""Executors: where jobs run. Nothing here knows what a job does."""

from homeostat.adapters.executors.local import LocalExecutor

__all__ = ["LocalExecutor"]
