"""Putting points of metrics into the blocks of their run."""

from __future__ import annotations

from homeostat.domain.records import Run
from homeostat.domain.tracking import Metric, MetricBlock
from homeostat.engine.tracking import blocks
from homeostat.engine.tracking.arrays import Rows
from homeostat.engine.tracking.rows import latest
from homeostat.ports.meta import Transaction


def rows_in(tx: Transaction, run: Run, rows: Rows) -> None:
    """Log points to a run that this transaction has locked: their rows, and the latest of each metric."""
    if not len(rows.points):
        return
    newest = tx.find(MetricBlock, ("run", "=", run.id), order=["-seq"], limit=1)
    written = blocks.extended(run.id, newest[0] if newest else None, rows)
    tx.put(*written)
    if written[-1].pending >= blocks.LARGE:
        _merge(tx, run.id)
    tx.put(*latest(run.id, run.experiment, rows), by=Metric.RANK)


def _merge(tx: Transaction, run_id: str) -> None:
    """Merge the blocks of level 0, and where that makes enough of level 1, these too."""
    for level in (0, 1):
        there = tx.find(MetricBlock, ("run", "=", run_id), ("level", "=", level), order=["seq"])
        if level == 1 and len(there) < blocks.WIDE:
            return
        if level == 1 and len({key for block in there for key in block.keys}) == 1:
            tx.update(MetricBlock, {"level": blocks.SORTED}, ("run", "=", run_id), ("level", "=", 1))
            return
        fewer = blocks.merged(there)
        gone = [block.seq for block in there[len(fewer) :]]
        tx.put(*fewer)
        tx.delete(MetricBlock, ("run", "=", run_id), ("seq", "in", gone))
