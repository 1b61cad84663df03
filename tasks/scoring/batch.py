"""Scoring a file with a version's own artefact: the endpoint's types, scores, predictions and flags, without HTTP and log."""

import gc
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from bentos.runtime.card import Score
from bentos.runtime.contract import Contract
from bentos.runtime.place import Place
from bentos.runtime.scoring import Scorer
from tasks.errors import PlatformError
from tasks.ledger.chain import History
from tasks.ledger.questions import champion
from tasks.scoring.files import FileError, Source, reading, writing
from tasks.scoring.rows import Check, Row, Rows
from tasks.store import Ref, Store

KINDS = {"binary": pa.bool_(), "multiclass": pa.string(), "regression": pa.float64()}
UNSCORABLE = "The model gives no finite score for this row."
RowsOf = Callable[[Source, Contract], Rows]


class Scored(BaseModel):
    """What became of a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    version: str
    source: str
    target: str
    rows: int = 0
    refused: int = 0
    flagged: int = 0
    flags: dict[str, int] = {}
    problem: str = ""

    @property
    def sentence(self) -> str:
        """The outcome in a sentence."""
        refused = f"; {self.refused:,} refused, as their column `error` says (the first: {self.problem})" if self.refused else ""
        return f"{self.rows - self.refused:,} of {self.rows:,} rows scored by {self.version}, {self.flagged:,} flagged{refused}"


def champion_scorer(history: History, model: str, store: Store) -> Scorer:
    """The model that answers now, from the bytes that its ledger row names.

    Raises:
        PlatformError: no version is live. StoreError: its bytes are not what they were; nothing is loaded.
    """
    version = champion(history, model)
    if version is None:
        raise PlatformError(f"No version of {model!r} is live", f"Take one live first: ratchet train {model} --wait.")
    with TemporaryDirectory() as temporary:
        return Scorer.load(store.get_tree(Ref.parse(version.artefact), Path(temporary) / "artefact"))


def score_file(scorer: Scorer, source: str, target: str, rows_of: RowsOf, max_skew: timedelta = Place.max_skew) -> Scored:
    """Write the rows of `source` to `target` with `prediction`, `score`, `flags`, `version` and `error`, a chunk in memory at a time.

    All columns and rows of the file are kept, in their order. A row that the endpoint would refuse has an error and nothing else.
    For a multiclass model `score` is a column a class: `score_<class>`. `max_skew` is how far ahead of the clock an event time may be.

    Raises:
        FileError: a file cannot be read or written; then there is no new `target`.
    """
    card = scorer.card
    scored = Scored(model=card.name, version=card.version, source=source, target=target)
    check = Check(card.contract, max_skew)
    with reading(source) as file:
        added = _added(card.contract)
        _check_free(file, added, target)
        rows = rows_of(file, card.contract)
        schema = pa.schema([*file.schema, *added], file.schema.metadata)
        with writing(target, schema) as writer, _no_search_for_cycles():
            for batch in file.batches:
                answers = _answers(scorer, check, rows(batch))
                scored = _counted(scored, answers)
                writer.write_batch(pa.record_batch([*batch.columns, *_columns(answers, added, card.contract)], schema=schema))
    return scored


def _answers(scorer: Scorer, check: Check, rows: list[Row]) -> list[dict[str, Any]]:
    """For each row what the endpoint would answer, or its error."""
    wrong = check(rows)
    good = [row for number, row in enumerate(rows) if number not in wrong] if wrong else rows
    answered = iter([_answer(scorer, row, score) for row, score in zip(good, scorer.score_rows(good), strict=True)] if good else [])
    return [{"error": wrong[number]} if number in wrong else next(answered) for number in range(len(rows))]


def _answer(scorer: Scorer, row: Row, score: Score) -> dict[str, Any]:
    if not all(map(math.isfinite, score if isinstance(score, list) else [score])):
        return {"error": UNSCORABLE}
    return {"prediction": scorer.decide(score), "score": score, "flags": scorer.flags(row), "version": scorer.card.version}


def _added(contract: Contract) -> list[pa.Field]:
    scores = [f"score_{name}" for name in contract.classes] if contract.task == "multiclass" else ["score"]
    texts = [pa.field(name, pa.string()) for name in ("flags", "version", "error")]
    return [pa.field("prediction", KINDS[contract.task]), *(pa.field(name, pa.float64()) for name in scores), *texts]


def _columns(answers: list[dict[str, Any]], added: list[pa.Field], contract: Contract) -> list[pa.Array]:
    columns: dict[str, list[Any]] = {name: [answer.get(name) for answer in answers] for name in ("prediction", "score", "version", "error")}
    columns["flags"] = [";".join(answer["flags"]) if "flags" in answer else None for answer in answers]
    for place, name in enumerate(contract.classes):
        columns[f"score_{name}"] = [score[place] if score else None for score in columns["score"]]
    return [pa.array(columns[field.name], field.type) for field in added]


def _counted(scored: Scored, answers: list[dict[str, Any]]) -> Scored:
    errors = [answer["error"] for answer in answers if "error" in answer]
    flags = dict(scored.flags)
    for flag in (flag for answer in answers for flag in answer.get("flags", ())):
        flags[flag] = flags.get(flag, 0) + 1
    found = {
        "rows": scored.rows + len(answers),
        "refused": scored.refused + len(errors),
        "flagged": scored.flagged + sum(bool(answer.get("flags")) for answer in answers),
        "flags": flags,
        "problem": scored.problem or next(iter(errors), ""),
    }
    return scored.model_copy(update=found)


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """The rows of a chunk hold no cycles and go when it is done; looking for some among them doubles the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _check_free(file: Source, added: list[pa.Field], target: str) -> None:
    taken = [field.name for field in added if field.name in file.schema.names]
    if taken:
        raise FileError(file.path, f"has columns that the scores would be written to already: {', '.join(taken)}")
    if file.path == target:
        raise FileError(target, "is the file that is read")
