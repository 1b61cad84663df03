"""What the score flow asks for: score a file, show what became of it. Thin shells."""

from datetime import timedelta
from typing import Any

from prefect import State, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed

from tasks.artifact import publish
from tasks.installation import Installation
from tasks.scoring.batch import Scored, champion_scorer, score_file
from tasks.scoring.page import scored_markdown
from tasks.scoring.raw import Timed, raw_rows
from tasks.scoring.rows import feature_rows


@task(cache_policy=NO_CACHE)
def score_rows(model: str, source: str, target: str, raw: bool, timed: Timed) -> Scored:
    """Score a file with the champion. `timed` parses the time column of raw rows."""
    here = Installation.of()
    spec = here.project.model(model)
    scorer = champion_scorer(here.ledger.read(), model, here.store)
    rows_of = raw_rows(here.project.dataset(spec.dataset), spec, here.project.pipeline(model).features, timed) if raw else feature_rows
    scored = score_file(scorer, source, target, rows_of, timedelta(seconds=here.settings.max_skew_seconds))
    get_run_logger().info("%s: %s, in %s", source, scored.sentence, target)
    return scored


def report_scores(scored: Scored) -> State[Any]:
    """Show the counts, and end the run: Failed only when there were rows and none could be scored."""
    publish(f"{scored.model}-scores", scored_markdown(scored), f"**{'⚠️' if scored.refused else '✅'} {scored.sentence}**")
    return Failed(message=scored.sentence) if scored.rows and scored.refused == scored.rows else Completed(message=scored.sentence)
