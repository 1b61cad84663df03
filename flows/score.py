"""score: a file of rows is answered by the champion, with the numbers that its endpoint would give."""

from typing import Annotated, Any

from prefect import State, flow
from pydantic import Field

from tasks.data.event_time import timed
from tasks.scoring.steps import report_scores, score_rows


@flow(flow_run_name="score-{model}")
def score(model: str, source: Annotated[str, Field(min_length=1)], target: Annotated[str, Field(min_length=1)], raw: bool = False) -> State[Any]:
    """Score a CSV or Parquet file.

    Args:
        model: Name of the model's folder in bentos.
        source: Path or fsspec URL of the file, with a column for each feature of a request.
        target: Where to write its rows with their scores, .csv or .parquet. A file there is replaced.
        raw: The file holds raw rows of the dataset, of which features() makes the features.
    """
    scored = score_rows(model, source, target, raw, timed)
    return report_scores(scored)
