"""What a project declares: datasets, feature views, models with gates, rollout, service levels and rules.

Frozen values, checked where they are made, so that an error names the line that declares the impossible.
"""

from homeostat.domain.declarations.approval import ApprovalPolicy
from homeostat.domain.declarations.attributions import Attributions
from homeostat.domain.declarations.base import Declaration
from homeostat.domain.declarations.business import BusinessMetric
from homeostat.domain.declarations.comparing import ABTest
from homeostat.domain.declarations.data import Dataset
from homeostat.domain.declarations.fairness import Fairness
from homeostat.domain.declarations.fallback import Fallback
from homeostat.domain.declarations.features import Entity, FeatureView, OnRequest, View, Windows
from homeostat.domain.declarations.gates import Beats, Calibrated, Gate, SingleRowLatency, WorstSlice
from homeostat.domain.declarations.inputs import DataQuality
from homeostat.domain.declarations.model import Model
from homeostat.domain.declarations.operation import SLO, Canary
from homeostat.domain.declarations.pipelines import Pipeline, Step, pipeline, step
from homeostat.domain.declarations.rules import (
    AllOf,
    AnyOf,
    CodeChange,
    ConceptDrift,
    ContractChange,
    Drift,
    DriftTest,
    Every,
    Message,
    NewLabels,
    Rule,
    Schedule,
    SloBurn,
    UpstreamModel,
    When,
)
from homeostat.domain.declarations.signing import SignaturePolicy
from homeostat.domain.declarations.tasks import Binary, Forecast, MultiClass, Ranking, Regression, Task
from homeostat.domain.declarations.tuning import Tuning

__all__ = [
    "SLO",
    "ABTest",
    "AllOf",
    "AnyOf",
    "ApprovalPolicy",
    "Attributions",
    "Beats",
    "Binary",
    "BusinessMetric",
    "Calibrated",
    "Canary",
    "CodeChange",
    "ConceptDrift",
    "ContractChange",
    "DataQuality",
    "Dataset",
    "Declaration",
    "Drift",
    "DriftTest",
    "Entity",
    "Every",
    "Fairness",
    "Fallback",
    "FeatureView",
    "Forecast",
    "Gate",
    "Message",
    "Model",
    "MultiClass",
    "NewLabels",
    "OnRequest",
    "Pipeline",
    "Ranking",
    "Regression",
    "Rule",
    "Schedule",
    "SignaturePolicy",
    "SingleRowLatency",
    "SloBurn",
    "Step",
    "Task",
    "Tuning",
    "UpstreamModel",
    "View",
    "When",
    "Windows",
    "WorstSlice",
    "pipeline",
    "step",
]
