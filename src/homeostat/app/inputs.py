"""The quality of live data, wired: the prediction log against the reference that the champion's package holds.

``inputs`` says all of it, for who asks; ``input_windows`` judges what ``hs.DataQuality`` declares, a window for each,
and computes nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final

import msgspec
import polars as pl

from homeostat.app.container import Container
from homeostat.app.levels import Said, judged, settle
from homeostat.app.registry.pointers import champion_version
from homeostat.app.replaying import compared
from homeostat.app.serving import ModelScorer, load_version
from homeostat.app.traffic import Traffic, of_those_asked
from homeostat.domain.declarations import FeatureView, Model, Windows
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import Conflict
from homeostat.domain.records import ModelVersion, Window
from homeostat.engine.monitoring.inputs import (
    LEAST_ROWS,
    Age,
    Finding,
    Inputs,
    Kind,
    Skew,
    age,
    findings,
)
from homeostat.engine.monitoring.reference import Reference
from homeostat.engine.registry import package
from homeostat.ports.meta import Transaction

SAMPLE: Final = 20
SKEW: Final = "skew"
_SHARES: Final[dict[str, tuple[str, tuple[Kind, ...]]]] = {
    "missing values": ("missing", ("missing",)),
    "out of range": ("out_of_range", ("below", "above")),
    "new values": ("new_values", ("new values",)),
}
_COUNTS: Final[dict[str, tuple[Kind, ...]]] = {
    "schema": ("absent", "type"),
    "instability": ("not finite", "stuck"),
}


class _Asked:
    """Requests of a time and what the champion's package says of them."""

    def __init__(
        self, container: Container, model: Model, version: ModelVersion, log: Traffic, since: datetime
    ) -> None:
        files = version.manifest["files"]
        signature = package.signature(container.blobs.get(files[package.SIGNATURE]))
        assert signature is not None  # the loop trained it
        self._container, self._model, self._version = container, model, version
        self._reference = files[package.REFERENCE]
        self._names = [column.name for column in signature.features]
        self._views = [view.name for view in model.features if isinstance(view, FeatureView | Windows)]
        self._log = log
        self._those = (
            pl.col("at") > since,
            pl.col("version") == version.version,
            pl.col("score").is_not_null(),
        )
        self.asked = log.asked(*self._those)
        self.rows = self.asked.rows

    def findings(self) -> list[Finding]:
        """What is otherwise than in training."""
        against = Reference.read(msgspec.json.decode(self._container.blobs.get(self._reference)))
        return findings(
            against, self.rows.select([name for name in self._names if name in self.rows.columns])
        )

    @cached_property
    def height(self) -> int:
        """How many requests there were, whether they are looked at or not."""
        return self._log.count(*self._those)

    def repeated(self) -> float:
        """The share of requests that ask the same again."""
        names = [name for name in self._names if name in self.rows.columns]
        columns = [*(["time"] if self._model.task.request.time else []), "key", *names]
        different = self._log.distinct(columns, *self._those)
        return max(1 - different / self.height, 0.0) if self.height else 0.0

    def ages(self) -> dict[str, Age]:
        """How old what stood behind the features was, by view."""
        behind = {view: f"as_of__{view}" for view in self._views}
        return {
            view: age((self.rows["time"] - self.rows[column]).dt.total_microseconds() / 1e6)
            for view, column in behind.items()
            if column in self.rows.columns
        }

    def skew(self, sample: int) -> Skew | None:
        """Some predictions, spread evenly over the time, with their features computed anew; None: none is stored."""
        if not self._views:
            return None
        loaded = load_version(self._container, self._model.name, self._version.version)
        assert isinstance(loaded.scorer, ModelScorer)  # the loop trained it
        answered = self.rows.filter(pl.col("error").is_null())
        rows = answered.gather_every(max(answered.height // sample, 1)).head(sample)
        features: Counter[str] = Counter()
        differing = untold = 0
        for row in rows.iter_rows(named=True):
            try:
                found = compared(self._container, loaded, row).differing
            except Conflict:  # logged without its request
                untold += 1
                continue
            features.update(one.feature for one in found)
            differing += bool(found)
        return Skew(rows.height - untold, differing, dict(features.most_common()), untold)


def inputs(container: Container, model: Model, log: Traffic, now: datetime, span: timedelta) -> Inputs | None:
    """Data quality over the newest ``span`` of a prediction log; None without a champion.

    Args:
        container: The ports.
        model: The declaration.
        log: What was asked, back to twice ``span``.
        now: The world's time.
        span: How long.
    """
    version = champion_version(container.store, model.name)
    if version is None:
        return None
    asked = _Asked(container, model, version, log, now - span)
    return Inputs(
        rows=log.count(pl.col("at") > now - span),
        before=log.count(pl.col("at") > now - 2 * span, pl.col("at") <= now - span),
        repeated=asked.repeated(),
        ages=asked.ages(),
        findings=asked.findings(),
        skew=asked.skew(SAMPLE),
    )


def input_windows(container: Container, model: Model, log: Traffic, now: datetime) -> list[Window]:
    """What the model's ``hs.DataQuality`` declares, judged over its window; none without it or a champion.

    Args:
        container: The ports.
        model: The declaration.
        log: What was asked, back to where what is compared with the window begins.
        now: The world's time.
    """
    promised = model.data_quality
    version = champion_version(container.store, model.name) if promised is not None else None
    if promised is None or version is None:
        return []
    asked = _Asked(container, model, version, log, now - promised.span)

    def window(
        monitor: str, value: float | None, bound: float, found: Any, *, rows: int = asked.rows.height
    ) -> Window:
        worse = -1.0 if monitor == "volume" else 1.0
        return judged(model, monitor, (now - promised.span, now), rows, value, bound, worse, found)

    out = asked.asked.told([window(*one) for one in _features(asked, model)])
    if promised.volume is not None:
        end = now - promised.before
        rows = log.count(pl.col("at") > now - promised.span)
        before = log.count(pl.col("at") > end - promised.span, pl.col("at") <= end)
        ratio = rows / before if before >= LEAST_ROWS else None
        told = {"rows": rows, "before": before}
        out.append(window("volume", ratio, promised.volume, told, rows=before))
    if promised.freshness is not None:
        ages = asked.ages()
        oldest = max((one.p99 for one in ages.values() if one.p99 is not None), default=None)
        bound = parse_duration(promised.freshness).total_seconds()
        out += asked.asked.told([window("freshness", oldest, bound, {"views": ages})])
    if promised.duplicates is not None:
        share = asked.repeated() if asked.rows.height >= LEAST_ROWS else None
        out.append(window("duplicates", share, promised.duplicates, {}, rows=asked.height))
    if promised.skew is not None and (skew := asked.skew(promised.sample)) is not None:
        share = skew.differing / skew.sampled if skew.sampled else None
        out.append(window(SKEW, share, promised.skew, skew))
    return out


def settle_inputs(tx: Transaction, container: Container, window: Window) -> None:
    """Open a ticket for live data that do not hold what is declared, or resolve it."""
    settle(tx, container, window, data_alert(window.deployment, window.monitor), _said)


def _said(window: Window) -> Said:
    return Said(
        summary=_told(window),
        action=(
            "no rule trains until it is over; homeostat replay shows a prediction step by step"
            if window.monitor == SKEW
            else "nothing was done; homeostat quality shows the data, homeostat lineage where they come from"
        ),
        detail={"value": window.value, "threshold": window.threshold, "rows": window.rows, **window.detail},
    )


def data_alert(deployment: str, monitor: str) -> str:
    """The key of the alert about live data that do not hold what is declared."""
    return f"data:{deployment}:{monitor}"


def _features(asked: _Asked, model: Model) -> Iterator[tuple[str, float | None, float, Any]]:
    """Monitors of single features: name, value, bound and what was found."""
    assert model.data_quality is not None
    found = asked.findings()
    enough = asked.rows.height >= LEAST_ROWS
    for monitor, kinds in _COUNTS.items():
        own = [one for one in found if one.what in kinds]
        yield monitor, float(len(own)) if enough else None, 0.0, _behind(own, 0.0)
    for monitor, (field, kinds) in _SHARES.items():
        bound = getattr(model.data_quality, field)
        if bound is not None:
            own = [one for one in found if one.what in kinds]
            largest = max((one.surely for one in own), default=0.0)
            yield monitor, largest if enough else None, bound, _behind(own, bound)


def _behind(found: list[Finding], bound: float) -> dict[str, Any]:
    """What was found, and the features that alerts then suspect."""
    return {
        "findings": found,
        "suspects": list(dict.fromkeys(one.feature for one in found if one.surely > bound)),
    }


def _told(window: Window) -> str:
    """What broke, in a sentence."""
    value, bound, since = window.value or 0.0, window.threshold or 0.0, f"since {window.start:%Y-%m-%d %H:%M}"
    if window.monitor == "volume":
        told = window.detail
        return f"{told['rows']:,} requests came {since}, {value:.0%} of the {told['before']:,} a week before or more"
    if window.monitor == "freshness":
        late = [
            name
            for name, one in window.detail["views"].items()
            if one["p99"] is not None and one["p99"] > bound
        ]
        return f"features of {', '.join(late)} are up to {value / 3600:.3g} hours old {since}"
    if window.monitor == "duplicates":
        return f"{value:.0%} of {window.rows:,} requests ask the same again {since}"
    if window.monitor == SKEW:
        told, behind = window.detail, ", ".join(window.detail["features"])
        return f"{told['differing']} of {told['sampled']} predictions have other features when computed anew: {behind}"
    past = [one for one in window.detail["findings"] if one["surely"] > bound]
    named = ", ".join(f"{one['feature']} {one['what']} ({one['share']:.1%})" for one in past[:5])
    more = f" and {len(past) - 5} more" if len(past) > 5 else ""
    sample = of_those_asked(window.detail.get("one_in", 1))
    return f"{named}{more} of {window.rows:,} requests{sample} {since}"
