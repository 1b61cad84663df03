"""What an endpoint does with a request: validate, score, write the log line, reply. No HTTP and no BentoML here."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from time import perf_counter_ns
from typing import Any

import numpy as np
import orjson
from pydantic import BaseModel, ValidationError

from bentos.runtime.card import Score
from bentos.runtime.errors import Field, Refused, invalid
from bentos.runtime.ids import Uuid7
from bentos.runtime.lines import hash_of
from bentos.runtime.log import LogWriter
from bentos.runtime.metrics import Metrics
from bentos.runtime.place import Place
from bentos.runtime.rows import FeedbackResponse, Models
from bentos.runtime.scoring import Scorer

TOLERANCE = 1e-4  # between machines; the parity check of training allows the same


class Endpoint:
    """Answers the requests of one model version.

    Raises:
        ValueError: the artefact was trained under another contract than `models` are made from, or its log needs a key that it was not given.
    """

    def __init__(self, scorer: Scorer, models: Models, place: Place, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        card, contract = scorer.card, models.contract
        if card.contract != contract:
            raise ValueError(
                f"model.toml of {contract.name!r} is not the contract that version {card.version!r} was trained under: train again, or build from that commit"
            )
        hashed = tuple(name for name, feature in contract.features.items() if feature.log == "hash")
        if hashed and place.log and not place.hash_key:
            raise ValueError(
                f'{contract.name!r} logs {", ".join(hashed)} as keyed hashes, and RATCHET_HASH_KEY is not set: set it, or say log = "omit" in model.toml and train'
            )
        self.scorer, self.models, self.place, self.clock = scorer, models, place, clock
        self.ready = False
        self.metrics = Metrics(card.name, card.version, scorer.possible_flags, scorer.scores.child)
        self._ids = Uuid7()
        logs = place.log / card.name if place.log else None
        self._predictions = LogWriter(logs / "predictions", place.fsync, place.log_bytes) if logs else None
        self._feedback = LogWriter(logs / "feedback", place.fsync, place.log_bytes) if logs else None
        self._plain, self._hashed, self._key = tuple(contract.logged), hashed, place.hash_key.encode()
        self._head = {"v": 1, "model": card.name, "version": card.version, "release": place.release, "role": "champion"}

    @property
    def inline(self) -> bool:
        """True when a row takes microseconds, so that a thread would cost more than it frees."""
        return self.scorer.card.format == "onnx"

    def warm_up(self) -> None:
        """Score the golden rows, then be ready.

        Raises:
            ValueError: they do not get the scores they got when the model was exported.
        """
        card = self.scorer.card
        if card.golden:
            found = self.scorer.score_rows([golden.row for golden in card.golden])
            off = max(_distance(score, golden.score) for score, golden in zip(found, card.golden, strict=True))
            if not off <= TOLERANCE:
                raise ValueError(
                    f"version {card.version!r} of {card.name!r} scores its golden rows otherwise than at its export: {off:.2g} off, allowed {TOLERANCE:g}"
                )
        self.ready = True

    def turn_logs(self) -> None:
        """Leave segments of the logs that are too old; for a host to call now and then, since a server that nobody asks writes no line.

        Raises:
            OSError: no new one can be begun.
        """
        for log in (self._predictions, self._feedback):
            if log:
                log.turn()

    def close(self) -> None:
        """Take no more requests; flush and close the logs, end the model's process if it has one."""
        self.ready = False
        self.scorer.close()
        for log in (self._predictions, self._feedback):
            if log:
                log.close()

    def predict(self, body: bytes) -> bytes:
        """Reply to the body of POST /predict.

        Raises:
            Refused: it is not answered.
        """
        started = perf_counter_ns()
        data = orjson.dumps(self.answer(_parsed(self.models.request, body), started))
        self.metrics.latency.observe((perf_counter_ns() - started) / 1e9)
        return data

    def answer_rows(self, rows: list[dict[str, Any]], started: int) -> dict[str, Any]:
        """Reply to rows that came in another form than /predict's, held against the same model.

        Raises:
            Refused: they are not answered.
        """
        try:
            request = self.models.request.model_validate({"rows": rows})
        except ValidationError as err:
            raise invalid(err) from None  # as in `_parsed`
        return self.answer(request, started)

    def answer(self, request: Any, started: int = 0) -> dict[str, Any]:
        """Reply to a parsed request, as `models.response` describes it; its log lines are on disk when this returns. `started` is a `perf_counter_ns`."""
        card, now = self.scorer.card, self.clock()
        rows: list[dict[str, Any]] = request.rows
        self._check_times("rows.{}.event_time", [row.get("event_time") for row in rows], now)
        scores = self.scorer.score_rows(rows)
        self._check_scores(scores)
        wall, latency = now.isoformat(), (perf_counter_ns() - started) // 1000 if started else 0
        answers, lines = [], []
        for row, score in zip(rows, scores, strict=True):
            answer = {"id": self._ids(), "prediction": self.scorer.decide(score), "score": score, "flags": self.scorer.flags(row)}
            entity, kept = row.get("entity"), dict(zip(self._plain, map(row.get, self._plain), strict=True))
            for name in self._hashed:
                kept[name] = None if row.get(name) is None else hash_of(row[name], self._key)
            line = {
                "event_time": row.get("event_time") or wall,
                "wall_time": wall,
                "row": kept,
                "latency_us": latency,
                "entity": hash_of(entity, self._key) if entity and self._key else "",
            }
            answers.append(answer)
            lines.append(self._head | line | answer)
        self._write(self._predictions, lines)
        self._count(answers)
        return {"model": card.name, "version": card.version, "release": self.place.release, "time": wall, "answers": answers}

    def take_feedback(self, body: bytes) -> bytes:
        """Reply to the body of POST /feedback.

        Raises:
            Refused: it is not taken.
        """
        reply = self.take_labels(_parsed(self.models.feedback, body))
        return reply.model_dump_json().encode()

    def take_labels(self, request: Any) -> FeedbackResponse:
        """Write parsed labels to the feedback log."""
        now, labels = self.clock(), request.labels
        self._check_times("labels.{}.time", [label.time for label in labels], now)
        wall = now.isoformat()
        lines = [{"v": 1, "id": each.id, "label": each.label, "time": each.time.isoformat() if each.time else wall, "wall_time": wall} for each in labels]
        self._write(self._feedback, lines)
        self.metrics.feedback.inc(len(lines))
        return FeedbackResponse(accepted=len(lines))

    def _check_times(self, path: str, times: list[datetime | None], now: datetime) -> None:
        latest = now + self.place.max_skew
        late = [i for i, time in enumerate(times) if time and time > latest]
        if late:
            fields = [Field(path=path.format(i), message="The time is too far ahead of the server's clock.") for i in late[:20]]
            raise Refused(HTTPStatus.CONFLICT, "skew", f"{len(late)} time(s) lie more than {self.place.max_skew.total_seconds():g} s ahead.", fields)

    def _check_scores(self, scores: list[Score]) -> None:
        lost = [i for i, score in enumerate(scores) if not (all(map(math.isfinite, score)) if isinstance(score, list) else math.isfinite(score))]
        if lost:
            fields = [Field(path=f"rows.{i}", message="The model gives no finite score for this row.") for i in lost[:20]]
            raise Refused(HTTPStatus.BAD_REQUEST, "unscorable", f"{len(lost)} row(s) cannot be scored.", fields)

    def _write(self, log: LogWriter | None, lines: list[dict[str, Any]]) -> None:
        if log is None:
            return
        try:
            log.append(lines)
        except OSError as err:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "log", "The log cannot be written, and nothing is answered that is not logged.") from err

    def _count(self, answers: list[dict[str, Any]]) -> None:
        self.metrics.predictions.inc(len(answers))
        for answer in answers:
            for flag in answer["flags"]:
                self.metrics.flag(flag)


def _parsed(model: type[BaseModel], body: bytes) -> Any:
    try:
        return model.model_validate_json(body)
    except ValidationError as err:
        raise invalid(err) from None  # the original holds the caller's values, which belong in no traceback


def _distance(score: Score, expected: Score) -> float:
    """Largest difference, relative where the expected score is above one."""
    found, wanted = np.atleast_1d(score), np.atleast_1d(expected)
    return float((np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))).max())
