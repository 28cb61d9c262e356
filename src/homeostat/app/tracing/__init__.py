"""Tracing: requests to applications as trees of spans, searched by what is known of them.

Use cases, one transaction each. Traces are measurements: only their removal is an event.
"""
