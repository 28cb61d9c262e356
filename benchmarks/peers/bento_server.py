"""BentoML: an adaptive batch, one worker."""

import os

import bentoml
import joblib
import numpy as np


@bentoml.service(workers=1, traffic={"timeout": 30, "max_concurrency": 1000}, metrics={"enabled": False})
class Model:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict(self, instances: np.ndarray) -> list[float]:
        return self.model.predict_proba(instances)[:, 1].tolist()
