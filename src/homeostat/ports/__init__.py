"""The small typed protocols between what Homeostat knows and what it runs on.

Protocols only; each has one contract test suite that every adapter passes.
"""
