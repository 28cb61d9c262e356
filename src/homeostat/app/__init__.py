"""Use cases and wiring: settings, the container that joins ports to adapters, and work that crosses capabilities.

Nothing here knows HTTP, a terminal or SQL.
"""
