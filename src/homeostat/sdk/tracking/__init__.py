"""Tracking runs from the program that runs: a spool on disk first, the server when there is one."""
