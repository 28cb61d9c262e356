"""Notifiers: how people are told of alerts. Nothing here decides whether to tell."""

from homeostat.adapters.notifiers.log import LogNotifier, read_alerts
from homeostat.adapters.notifiers.services import AppriseService
from homeostat.adapters.notifiers.webhook import Webhook

__all__ = ["AppriseService", "LogNotifier", "Webhook", "read_alerts"]
