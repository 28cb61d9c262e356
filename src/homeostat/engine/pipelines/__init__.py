"""Graphs of ordinary functions: executed in order, each result kept by what went into it."""
