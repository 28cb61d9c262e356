"""A quick model on the flights' data, with every part of the loop: rules, gates, a canary, service levels.

``year.py`` beside it is the flights example's own ``project.py``.
"""

import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier
from year import carrier_late, flights, landings, origin, origin_late, schedule, weather

import homeostat as hs


@hs.feature_view(entity=origin, source=weather, ttl="6h")
def wind(w: pl.LazyFrame) -> pl.LazyFrame:
    return w.select("wind_speed", "visib")


def train(data: hs.TrainingSet) -> HistGradientBoostingClassifier:
    model = HistGradientBoostingClassifier(
        max_iter=8, min_samples_leaf=20, early_stopping=False, random_state=0
    )
    return model.fit(data.X, data.y)


delay = hs.Model(
    "flight-delay",
    task=hs.Binary(label="late", source=landings, request=flights),
    features=[wind, carrier_late, origin_late, schedule],
    train=train,
    holdout="4d",
    gates=[hs.calibrated(within=0.5)],
    rollout=hs.Canary(share=0.3, watch=["errors"], false_alarm=0.05, decide_within="1d", min_requests=20),
    slo=hs.SLO(availability=0.9, window="7d"),
    retrain=hs.when(hs.every("5d"), cooldown="2d", check_every="12h"),
)
