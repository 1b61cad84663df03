"""The trial of a new version: in a throw-away server, on a private socket, with a log of its own, before it may meet a caller."""

import asyncio
import json
import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from bentos.runtime.card import Card, Score
from bentos.runtime.contract import Contract
from bentos.runtime.digest import DigestError, artefact_in
from bentos.runtime.log import read_lines
from bentos.runtime.release import Release
from tasks.errors import ReleaseError
from tasks.release.generation import Generation, NotReadyError, environment
from tasks.settings import Settings
from tasks.spec import ModelSpec

TOLERANCE = 1e-4  # relative to scores above one: what the parity check of training allows between pipeline and export
Row = dict[str, Any]


class Failed(Exception):
    """A check that did not hold; the message says which and what was found."""


class Part(BaseModel):
    """Base of the shapes that callers rely on: exactly these fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class WrongField(Part):
    """One wrong part of a request."""

    path: str
    message: str


class Problem(Part):
    """Why a request was refused."""

    code: str
    message: str
    fields: list[WrongField]


class Refusal(Part):
    """The one shape of an error."""

    error: Problem


def preflight(release: Release, bento: Path, spec: ModelSpec, settings: Settings) -> None:
    """Start the version of a release and put questions to it whose answers are known: golden rows, sample.json, and bad rows.

    The rows and the sample are the bento's own, so that an old version is not held against today's spec.

    Raises:
        ReleaseError: it does not answer as it must; the message names the check.
    """
    try:
        card = Card.load(artefact_in(bento))
        if (card.name, card.version) != (spec.name, release.version) or release.model != spec.name:
            raise Failed(f"the bento holds version {card.version!r} of {card.name!r}, the release names {release.version!r} of {release.model!r}")
        asyncio.run(_try(release, bento, card, settings))
    except (Failed, NotReadyError, DigestError, OSError) as err:
        raise ReleaseError(release.model, release.version, f"its preflight failed: {str(err).rstrip('.')}") from err


async def _try(release: Release, bento: Path, card: Card, settings: Settings) -> None:
    with TemporaryDirectory(prefix="ratchet-preflight-") as temporary:
        apart = settings.model_copy(update={"home": Path(temporary), "predict_key": SecretStr(""), "feedback_key": SecretStr("")})
        server = await Generation.start(release, bento, apart.root / "server", environment(apart, release), drain_seconds=0)
        try:
            await server.ready(settings.ready_seconds)
            async with server.client() as client:
                answered = await check_golden(client, card) + await check_sample(client, bento / "src" / "bentos" / card.name / "sample.json")
                await check_bad_rows(client, card)
        finally:
            server.end()
            await server.ended(5)
        logged = sum(1 for _ in read_lines(apart.logs / card.name / "predictions"))
        if logged != answered:
            raise Failed(f"prediction log: {answered} rows were answered and {logged} are in the log")


async def check_golden(client: httpx.AsyncClient, card: Card) -> int:
    """The golden rows get the scores that they got when the model was exported; returns their number."""
    if not card.golden:
        raise Failed("golden rows: its card has none, so nothing tells whether it scores as it did in training")
    for i, golden in enumerate(card.golden):
        (answer,) = await _answers(client, f"golden row {i}", _body(golden.row))
        if not (off := distance(answer.get("score"), golden.score)) <= TOLERANCE:
            raise Failed(f"golden row {i}: it scores {answer.get('score')}, expected {golden.score} (off by {off:.2g}, allowed {TOLERANCE:g})")
    return len(card.golden)


async def check_sample(client: httpx.AsyncClient, sample: Path) -> int:
    """`sample.json` is answered; returns the number of its rows."""
    if not sample.is_file():
        raise Failed(f"sample.json: the bento has none; add bentos/{sample.parent.name}/sample.json")
    return len(await _answers(client, "sample.json", sample.read_text()))


async def check_bad_rows(client: httpx.AsyncClient, card: Card) -> None:
    """What breaks the contract is refused with 400 and the one error shape."""
    for name, body in bad_requests(card.contract, card.golden[0].row):
        response = await _post(client, f"bad rows: {name}", body)
        if response.status_code != httpx.codes.BAD_REQUEST:
            raise Failed(f"bad rows: {name} gave {response.status_code}, expected 400")
        try:
            Refusal.model_validate_json(response.content)
        except ValidationError as err:
            raise Failed(f"bad rows: {name} was refused in another shape than the documented one: {response.text[:200]}") from err


def bad_requests(contract: Contract, good: Row) -> Iterator[tuple[str, str]]:
    """Requests that a contract forbids, by what is wrong with them. `good` is a row that it allows."""
    features = contract.features
    required = [name for name, feature in features.items() if not feature.nullable]
    numbers = [name for name, feature in features.items() if feature.type in {"number", "integer"}]
    if required:
        yield f"a row without {required[0]!r}", _body({name: value for name, value in good.items() if name != required[0]})
    for name, feature in features.items():
        yield f"a wrong type in {name!r}", _body({**good, name: 12.5 if feature.type == "category" else "no number"})
    yield "an unknown field", _body({**good, "no_such_field_" + "_".join(features)[:20]: 1})
    for name in numbers[:1]:
        yield f"NaN in {name!r}", _body({**good, name: math.nan})
    yield "no rows", json.dumps({"rows": []})


def _body(row: Row) -> str:
    return json.dumps({"rows": [row]})


async def _answers(client: httpx.AsyncClient, what: str, body: str) -> list[Row]:
    response = await _post(client, what, body)
    if response.status_code != httpx.codes.OK:
        raise Failed(f"{what}: refused with {response.status_code}: {response.text[:300]}")
    answers: list[Row] = response.json().get("answers", [])
    wanted = len(json.loads(body)["rows"])
    if len(answers) != wanted:
        raise Failed(f"{what}: {wanted} rows got {len(answers)} answers")
    return answers


async def _post(client: httpx.AsyncClient, what: str, body: str) -> httpx.Response:
    try:
        return await client.post("/predict", content=body, headers={"content-type": "application/json"})
    except httpx.HTTPError as err:
        raise Failed(f"{what}: no reply: {type(err).__name__}: {err}") from err


def distance(found: Any, expected: Score) -> float:
    """Largest difference of two scores, relative where the expected one is above one; infinite when they are not of one kind."""
    left, right = ([score] if not isinstance(score, list) else score for score in (found, expected))
    if isinstance(found, list) != isinstance(expected, list) or len(left) != len(right) or not all(isinstance(each, int | float) for each in left):
        return math.inf
    return max(float(abs(a - b) / max(1.0, abs(b))) for a, b in zip(left, right, strict=True))
