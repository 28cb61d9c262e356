"""Backtests: retraining policies over history, through the loop's own use cases on a clock that is set.

``running`` plans and oversees; each policy is replayed by a process of its own (``job``), in a store of its own.
"""
