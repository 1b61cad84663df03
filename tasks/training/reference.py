"""The rows that later traffic is compared with: what the model was made from, with the answers it gives."""

import io

import pandas as pd

from bentos.runtime.scoring import Scorer
from tasks.spec import ModelSpec
from tasks.training.split import Split, thin


def reference_rows(rows: Split, scorer: Scorer, spec: ModelSpec) -> bytes:
    """Parquet of at most `monitoring.sample` rows, evenly spread in time: features, `event_time`, `holdout` and `prediction`.

    The prediction is the score, or for multiclass tasks the class.
    """
    every = pd.concat([rows.train.assign(holdout=False), rows.holdout.assign(holdout=True)], ignore_index=True)
    chosen = thin(every, spec.monitoring.sample)
    scores = scorer.score(chosen)
    said = [scorer.decide(score) for score in scores.tolist()] if spec.task == "multiclass" else scores.astype("float64")
    buffer = io.BytesIO()
    chosen[[*spec.features, "event_time", "holdout"]].assign(prediction=said).to_parquet(buffer, index=False)
    return buffer.getvalue()
