"""Models: a task, features, a training function, and what must hold before and while one serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from inspect import signature
from typing import Any, ClassVar, cast

import msgspec

from homeostat.domain.declarations.approval import ApprovalPolicy
from homeostat.domain.declarations.attributions import Attributions
from homeostat.domain.declarations.base import Declaration
from homeostat.domain.declarations.business import BusinessMetric
from homeostat.domain.declarations.comparing import ABTest
from homeostat.domain.declarations.fairness import OF_TASK, Fairness
from homeostat.domain.declarations.fallback import Fallback
from homeostat.domain.declarations.features import View
from homeostat.domain.declarations.gates import Beats, Calibrated, Gate, SingleRowLatency, WorstSlice
from homeostat.domain.declarations.inputs import DataQuality
from homeostat.domain.declarations.operation import SLO, Canary
from homeostat.domain.declarations.rules import ConceptDrift, SloBurn, When
from homeostat.domain.declarations.signing import SignaturePolicy
from homeostat.domain.declarations.statements import STATEMENTS
from homeostat.domain.declarations.tasks import Binary, Forecast, Ranking, Task
from homeostat.domain.declarations.tuning import Tuning
from homeostat.domain.digests import source_digest
from homeostat.domain.durations import parse_duration
from homeostat.domain.metrics import LOSSES


@dataclass(frozen=True)
class Model(Declaration):
    """A model that is trained, gated, served, watched and repaired.

    Args:
        task: What it answers.
        train: An ordinary function of ``data`` (a ``TrainingSet``: ``data.X`` a Polars frame, ``data.y`` a NumPy
            array) and keyword parameters with defaults, giving a fitted object with ``predict_proba``, of a
            regression with ``predict``.
        tune: Which of those parameters are searched for before a training; None: it has the defaults.
        features: The feature views; without any, the request's own columns but key, time and label.
        gates: What a candidate must pass.
        approval: Whose consent it needs then, before it is rolled out; None: nobody's.
        signed: Whose signatures its package needs before it serves; None: nobody's.
        rollout: How an accepted candidate is brought in, by a canary or an A/B test; None: at once.
        fallback: What its deployment answers where it would answer with an error; None: the error.
        slo: The service levels of its deployment.
        fairness: Which groups of requests are compared, and by what.
        data_quality: What the data that it is asked with must hold; None: nothing is judged.
        attributions: How far what it decides by may move from training; None: it is not looked at.
        business: What answers are worth, by the version that gave them.
        retrain: When it is trained again.
        history: How far back training rows reach; None: to the beginning.
        holdout: The newest part of the labelled rows, a duration or a share of the rows, kept from training for
            the gates.
        onnx: Convert it to ONNX, and serve that where every label agrees on the training rows and no probability
            differs by more than this, as ``1e-6``; None: serve it as it is.
        trusted: Types beyond the known-safe that its file may hold, as ``module.Class``.
        card: What its model card says and nobody can measure: any of ``owner``, ``license``, ``intended_use``,
            ``out_of_scope``, ``factors``, ``ethical_considerations``, ``caveats``.
    """

    kind: ClassVar[str] = "model"

    task: Task = cast("Task", None)
    train: Callable[..., Any] = field(default=cast("Callable[..., Any]", None), compare=False)
    tune: Tuning | None = None
    features: tuple[View, ...] | list[View] = ()
    gates: tuple[Gate, ...] | list[Gate] = ()
    approval: ApprovalPolicy | None = None
    signed: SignaturePolicy | None = None
    rollout: Canary | ABTest | None = None
    fallback: Fallback | None = None
    slo: SLO | None = None
    fairness: Fairness | None = None
    data_quality: DataQuality | None = None
    attributions: Attributions | None = None
    business: tuple[BusinessMetric, ...] | list[BusinessMetric] = ()
    retrain: When | None = None
    history: str | None = None
    holdout: str | float = 0.2
    onnx: float | None = None
    trusted: tuple[str, ...] | list[str] = ()
    card: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Raise a DeclarationError naming what cannot hold."""
        self.expect("task", self.task, Task, 'hs.Binary(label="churned", source=customers)')
        if not callable(self.train):
            raise self.error("has no training function", "Give train=, a function of one TrainingSet")
        for label, kinds, like in (
            ("features", View, "a function under @hs.feature_view, hs.windows(…) or @hs.on_request"),
            ("business", BusinessMetric, 'hs.BusinessMetric(orders, "revenue")'),
            ("gates", (Beats, WorstSlice, Calibrated, SingleRowLatency), 'hs.beats("champion", "log_loss")'),
        ):
            object.__setattr__(self, label, tuple(getattr(self, label)))
            for item in getattr(self, label):
                if not isinstance(item, kinds):
                    raise self.error(f"{label} holds {item!r}", f"Write each like {like}")
        if self.tune is not None:
            self.expect("tune", self.tune, Tuning, 'hs.Tuning({"C": (1e-3, 10.0, "log")})')
            accepted = list(signature(self.train).parameters)[1:]
            for name in self.tune.space:
                if name not in accepted:
                    raise self.error(
                        f"tune searches for {name!r}, which its training function does not take",
                        f"It takes {', '.join(accepted) or 'none'}",
                    )
        if self.approval is not None:
            self.expect("approval", self.approval, ApprovalPolicy, "hs.approval(by=1)")
        if self.signed is not None:
            self.expect("signed", self.signed, SignaturePolicy, 'hs.signed_by({"release": "sha256:…"})')
        if self.fallback is not None:
            self.expect("fallback", self.fallback, Fallback, 'hs.Fallback(features="10m", previous=True)')
            if wanted := self.fallback.problem(self.task):
                raise self.error(
                    f"its fallback answers {self.fallback.answer!r}",
                    f"Give {wanted}: it is answered in place of hs.{type(self.task).__name__}",
                )
        if self.data_quality is not None:
            self.expect("data_quality", self.data_quality, DataQuality, "hs.DataQuality(missing=0.05)")
        if self.attributions is not None:
            self.expect("attributions", self.attributions, Attributions, "hs.Attributions(ndcg=0.9)")
        if isinstance(self.holdout, float) and not 0 < self.holdout < 1:
            raise self.error(
                f"holdout is {self.holdout}", 'Give a share between 0 and 1, or a duration as "7d"'
            )
        for text in (self.holdout, self.history):
            if isinstance(text, str):
                parse_duration(text)
        for name, said in self.card.items():
            if name not in STATEMENTS or not isinstance(said, str):
                raise self.error(f"card says {name!r}: {said!r}", f"Say any of {', '.join(STATEMENTS)}")
        columns = self.task.source.columns
        if columns and self.task.label not in {column.name for column in columns}:
            raise self.error(
                f"label {self.task.label!r} is no column of dataset {self.task.source.name!r}",
                "Name one that is",
            )
        if isinstance(task := self.task, Ranking):
            by_losses = self.retrain and any(isinstance(one, ConceptDrift) for one in self.retrain.leaves)
            if self.rollout is not None or by_losses:
                raise self.error(
                    f"{'its rollout' if self.rollout else 'hs.concept_drift()'} compares requests one by one, and "
                    f"hs.Ranking({task.label!r}) is judged by query",
                    "Leave rollout= out: gates decide" if self.rollout else 'Watch hs.slo_burn("ndcg")',
                )
        if self.compares_with("no_change") and (
            self.task.request.time is None or isinstance(self.task, Ranking)
        ):
            raise self.error(
                'hs.beats("no_change", …) has no label before each',
                f"Name the time column of dataset {self.task.request.name!r}, or compare with the baseline",
            )
        if self.compares_with("no_change") and isinstance(self.task, Forecast):
            raise self.error(
                'hs.beats("no_change", …) compares with the label before, which may be that of another series',
                'Name a naive forecast, as in naive="last_week", and judge by "mase": 1 is as good as that',
            )
        self._check_metrics()
        if self.retrain and self.retrain.season and not self.task.request.time:
            raise self.error(
                f"hs.drift(season={self.retrain.season!r}) has no time to tell the season by",
                f"Name the time column of dataset {self.task.request.name!r}, as in time=…",
            )
        for rule in self.retrain.leaves if self.retrain else ():
            if isinstance(rule, SloBurn) and self._promised(rule.metric) is None:
                raise self.error(
                    f"hs.slo_burn({rule.metric!r}) has no service level to watch",
                    f"Declare one, as in slo=hs.SLO({rule.metric}=…)",
                )

    def _check_metrics(self) -> None:
        """Raise where a gate, the rollout or a service level names what this kind of task does not have."""
        task = self.task
        asked = [gate.metric for gate in self.gates if isinstance(gate, Beats | WorstSlice)]
        asked += ["calibration_error"] if any(isinstance(gate, Calibrated) for gate in self.gates) else []
        if self.slo is not None:
            known = [name for name in ("log_loss", "auc") if self.slo.bound(name) is not None]
            asked += [*known, *self.slo.quality]
        for name in asked:
            if name not in task.names:
                raise self.error(
                    f"{name!r} is no metric of hs.{type(task).__name__}",
                    f"Use one of {', '.join(task.names)}",
                )
        if self.fairness is not None:
            self.expect("fairness", self.fairness, Fairness, 'hs.Fairness(of=["region"])')
            for rate in self.fairness.rates(task.type):
                if rate not in OF_TASK[task.type]:
                    raise self.error(
                        f"its fairness compares {rate!r}, which hs.{type(task).__name__} does not have",
                        f"Use any of {', '.join(OF_TASK[task.type])}",
                    )
        if isinstance(self.rollout, Canary):
            if tuple(self.rollout.watch) == Canary().watch:
                watch = (*self.rollout.watch[:2], task.loss)
                object.__setattr__(self, "rollout", msgspec.structs.replace(self.rollout, watch=watch))
            for name in self.rollout.watch:
                if name in LOSSES and name != task.loss:
                    raise self.error(
                        f"its canary watches {name!r}, and hs.{type(task).__name__} has {task.loss!r}",
                        f"Watch any of errors, latency, {task.loss}",
                    )
        if isinstance(self.rollout, ABTest) and self.rollout.outcome in set(LOSSES) - {task.loss}:
            raise self.error(f"its A/B test compares {self.rollout.outcome!r}", f"Compare {task.loss!r}")
        if self.onnx is not None and not isinstance(task, Binary):
            raise self.error(
                f"onnx= serves no hs.{type(task).__name__}", "Leave it out: it is served as it is"
            )

    def _promised(self, metric: str) -> float | str | None:
        """What is promised of a metric, or of one that is estimated."""
        if self.slo is None:
            return None
        name = metric.removeprefix("estimated ")
        if name in ("availability", "p99", "fairness"):
            found: float | str | None = getattr(self.slo, name)
            return found
        return self.slo.bound(name)

    def compares_with(self, reference: str) -> bool:
        """Whether a gate compares with ``reference``."""
        return any(isinstance(gate, Beats) and gate.reference == reference for gate in self.gates)

    @property
    def watched(self) -> bool:
        """Whether anything asks for its deployment to be looked at."""
        asked = (self.slo, self.data_quality, self.attributions, self.retrain)
        return bool(self.business) or any(one is not None for one in asked)

    @property
    def window(self) -> timedelta | None:
        """``history`` as a timedelta."""
        return parse_duration(self.history) if self.history else None

    def spec(self) -> dict[str, Any]:
        """What this declares, as JSON can hold it."""
        return {
            "task": self.task.spec(),
            "features": [view.name for view in self.features],
            "train": source_digest(self.train),
            "tune": msgspec.to_builtins(self.tune),
            "gates": msgspec.to_builtins(self.gates),
            "approval": msgspec.to_builtins(self.approval),
            "signed": msgspec.to_builtins(self.signed),
            "rollout": msgspec.to_builtins(self.rollout),
            "fallback": msgspec.to_builtins(self.fallback),
            "slo": msgspec.to_builtins(self.slo),
            "fairness": msgspec.to_builtins(self.fairness),
            "data_quality": msgspec.to_builtins(self.data_quality),
            "attributions": msgspec.to_builtins(self.attributions),
            "business": [one.spec() for one in self.business],
            "retrain": msgspec.to_builtins(self.retrain),
            "history": self.history,
            "holdout": self.holdout,
            "onnx": self.onnx,
            "trusted": list(self.trusted),
            "card": dict(self.card),
        }
