"""BentoML as its documentation shows it, and tuned: `bentoml serve stock:Default` or `stock:Tuned` with BENCH_ARTEFACT set."""

import bentoml
from bare import Row
from graph import score
from pydantic import BaseModel


class Scores(BaseModel):
    scores: list[float]


@bentoml.service
class Default:
    @bentoml.api
    async def predict(self, rows: list[Row]) -> list[float]:
        return score([vars(row) for row in rows])


@bentoml.service(tracing={"excluded_urls": ".*"}, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Tuned:
    @bentoml.api
    async def predict(self, rows: list[Row]) -> Scores:
        return Scores(scores=score([vars(row) for row in rows]))
