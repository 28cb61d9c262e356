"""Notifiers: how people are told of alerts. Nothing here decides whether to tell."""

from homeostat.adapters.notifiers.log import LogNotifier, read_alerts

__all__ = ["LogNotifier", "read_alerts"]
