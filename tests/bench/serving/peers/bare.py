"""The bare peer: FastAPI's own way to serve a model, and nothing else. `uvicorn bare:app` with BENCH_ARTEFACT set."""

from typing import Any

from fastapi import FastAPI
from graph import inputs, score, texts
from pydantic import BaseModel, create_model

FIELDS: Any = {name: (str, ...) if name in texts else (float | None, None) for _, names, _, _ in inputs for name in names}
Row: Any = create_model("Row", **FIELDS)


class Rows(BaseModel):
    rows: list[Row]


app = FastAPI()


@app.post("/predict")
async def predict(body: Rows) -> dict[str, list[float]]:
    return {"scores": score([vars(row) for row in body.rows])}
