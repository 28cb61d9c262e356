"""Make a whylogs profile, or statistics in the messages of TFDV, of the same rows. See README.md."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

OUT = Path(sys.argv[1])
ROWS = 5000


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=ROWS),
            "n": rng.poisson(3, ROWS),
            "c": rng.choice(["a", "b", "c"], ROWS, p=[0.5, 0.3, 0.2]),
            "b": rng.random(ROWS) < 0.3,
        }
    )
    frame.loc[frame.index % 10 == 0, "x"] = np.nan
    frame.loc[frame.index % 4 == 0, "c"] = None
    return frame


def whylogs() -> None:
    import whylogs

    whylogs.log(rows()).view().write(str(OUT / "whylogs.bin"))


def tfdv() -> None:
    """As TFDV fills them: two histograms a number, the ranks of each text."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import statistics_pb2

    found = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = found.datasets.add(num_examples=ROWS)
    for name, column in rows().items():
        known = column.dropna()
        feature = dataset.features.add()
        feature.path.step.append(name)
        if column.dtype == object:
            feature.type = feature.STRING
            stats = feature.string_stats
            stats.unique = known.nunique()
            for rank, (value, count) in enumerate(known.value_counts().items()):
                stats.top_values.add(value=value, frequency=count)
                stats.rank_histogram.buckets.add(
                    low_rank=rank, high_rank=rank, label=value, sample_count=count
                )
        else:
            known = known.astype(float)
            feature.type = feature.FLOAT if name == "x" else feature.INT
            stats = feature.num_stats
            stats.mean, stats.std_dev = known.mean(), known.std(ddof=0)
            stats.min, stats.median, stats.max = known.min(), known.median(), known.max()
            quantiles = np.quantile(known, np.linspace(0, 1, 11), method="inverted_cdf")
            for kind, edges in (
                ("STANDARD", np.linspace(*known.agg(["min", "max"]), 11)),
                ("QUANTILES", quantiles),
            ):
                histogram = stats.histograms.add(type=kind)
                # Above the lower end and up to the upper one, as `quantiles_util.py` of TFDV counts them: what is equal
                # to the least in the first, and what is of several buckets with one upper end in equal parts.
                upto = np.searchsorted(np.sort(known), edges, side="right")
                counts, highs = np.diff(upto).astype(float), edges[1:]
                for high in np.unique(highs):
                    counts[highs == high] = counts[highs == high].sum() / (highs == high).sum()
                first = (highs == highs[0]) & (edges[:-1] == edges[0])
                counts[first] += upto[0] / first.sum()
                for low, high, count in zip(edges, highs, counts, strict=False):
                    histogram.buckets.add(low_value=low, high_value=high, sample_count=count)
        stats.common_stats.num_non_missing = stats.common_stats.tot_num_values = len(known)
        stats.common_stats.num_missing = ROWS - len(known)
    (OUT / "tfdv.pb").write_bytes(found.SerializeToString())
    (OUT / "tfdv.pbtxt").write_text(text_format.MessageToString(found))


{"whylogs": whylogs, "tfdv": tfdv}[sys.argv[2]]()
