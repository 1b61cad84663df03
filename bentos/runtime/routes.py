"""Which paths there are, and what each of them answers: who may call, how much, and in which turn."""

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus
from time import monotonic
from typing import NamedTuple, TypeVar

import orjson

from bentos.runtime.admission import JSON_SIZE, PREDICT_KINDS, V2_KINDS, Scope, allow, gets, posts, takes
from bentos.runtime.body import CLOSE, Receive, Room, largest, read
from bentos.runtime.endpoint import Endpoint
from bentos.runtime.errors import Header, Refused
from bentos.runtime.inference_v2 import SERVER, infer, model_metadata
from bentos.runtime.openapi import render
from bentos.runtime.patience import Patience

Answered = TypeVar("Answered")

BODY_SECONDS = 10.0  # for a caller to send its body
MAX_WAITING = 64  # requests that wait for the thread
LONGEST = 60  # seconds after which a caller that was sent away may ask again
INLINE_BODY = 64_000  # bytes, a hundred rows with times and entities: scored in a millisecond or two; longer ones keep others waiting, and go to the thread
BENTOML = "/schema.json"  # what its client reads; not its page at /, which loads a tag manager from the Internet
V2_MODEL = re.compile(r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<action>ready|infer))?")
JSON = (b"content-type", b"application/json")
BINARY = (b"content-type", b"application/octet-stream")
TEXT = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")  # Prometheus'


class Reply(NamedTuple):
    """A whole response."""

    body: bytes
    status: int = 200
    kind: Header = JSON
    extra: tuple[Header, ...] = ()


class Routes:
    """The paths of every endpoint. `endpoint` gives None until the service is made."""

    def __init__(self, endpoint: Callable[[], Endpoint | None]) -> None:
        self.endpoint = endpoint
        self.table = {
            "/predict": self._predict,
            "/feedback": self._feedback,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/healthz": self._livez,
            "/metrics": self._metrics,
            "/docs.json": self._docs,
            "/v2": self._v2_server,
            "/v2/health/live": self._livez,
            "/v2/health/ready": self._readyz,
        }
        self.document: bytes | None = None
        self.most = 0  # bytes of a body; known with the endpoint
        self.room = Room()
        self.thread = asyncio.Semaphore(1)
        self.waiting = 0
        self.pace = 0.0  # seconds that a request takes in the thread, of late
        self.patience = Patience(BODY_SECONDS)

    async def answer(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        """Reply to a request.

        Raises:
            Refused: it is not answered. Disconnected: its caller has gone.
        """
        return await self.table.get(scope["path"], self._v2_model)(scope, headers, receive)

    async def _predict(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        endpoint = self._open(scope, headers, "predict")
        body = await read(receive, self.most, self.patience, self.room)
        if endpoint.inline and len(body) <= INLINE_BODY:
            return Reply(endpoint.predict(body))
        return Reply(await self._in_turn(endpoint.predict, body))

    async def _in_turn(self, answer: Callable[[bytes], Answered], body: bytes) -> Answered:
        """Answer in the one thread, when those before are done."""
        if self.waiting >= MAX_WAITING:
            seconds = b"%d" % min(max(self.waiting * self.pace, 1), LONGEST)
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", f"{MAX_WAITING} requests are waiting already.", headers=((b"retry-after", seconds),))
        self.room.take(len(body))
        self.waiting += 1
        try:
            async with self.thread:
                began = monotonic()
                answered = await asyncio.to_thread(answer, body)
                self.pace += (monotonic() - began - self.pace) / 8
                return answered
        finally:
            self.waiting -= 1
            self.room.give(len(body))

    async def _feedback(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        endpoint = self._open(scope, headers, "feedback")
        body = await read(receive, self.most, self.patience, self.room)
        return Reply(endpoint.take_feedback(body) if len(body) <= INLINE_BODY else await self._in_turn(endpoint.take_feedback, body), 202)

    async def _v2_model(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        """The paths that name a model."""
        asked = V2_MODEL.fullmatch(scope["path"])
        if asked is None:
            paths = ", ".join([*self.table, BENTOML, "/v2/models/{name}[/versions/{version}][/ready|/infer]"])
            raise Refused(HTTPStatus.NOT_FOUND, "path", f"There is no such path. There are: {paths}.")
        if asked["action"] == "infer":
            return await self._v2_infer(asked, scope, headers, receive)
        gets(scope)
        endpoint = self._named(asked)
        card = endpoint.scorer.card
        if asked["action"] == "ready":
            self._able(endpoint)
            return Reply(orjson.dumps({"name": card.name, "ready": True}))
        return Reply(orjson.dumps(model_metadata(card)))

    async def _v2_infer(self, asked: re.Match[str], scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        endpoint = self._open(scope, headers, "predict", V2_KINDS, asked)
        body = await read(receive, self.most, self.patience, self.room)
        given = headers.get(JSON_SIZE)
        json_size = None if given is None else int(given) if given.isdigit() and len(given) < 10 else 0
        if json_size is not None and not 0 < json_size <= len(body):
            raise Refused(HTTPStatus.BAD_REQUEST, "json", "The Inference-Header-Content-Length is not that of JSON in the body.")

        def answer(body: bytes) -> Reply:
            found = infer(endpoint, body, json_size)
            if found.json_size is None:
                return Reply(found.body)
            return Reply(found.body, kind=BINARY, extra=((JSON_SIZE, str(found.json_size).encode()),))

        return answer(body) if endpoint.inline and len(body) <= INLINE_BODY else await self._in_turn(answer, body)

    def _named(self, asked: re.Match[str]) -> Endpoint:
        """The endpoint, when it is of the model and version that a path names."""
        endpoint = self._ready()
        card = endpoint.scorer.card
        if asked["name"] != card.name or asked["version"] not in {None, card.version}:
            raise Refused(HTTPStatus.NOT_FOUND, "model", f"This server has the model {card.name}, version {card.version}.", headers=(CLOSE,))
        return endpoint

    def _open(
        self, scope: Scope, headers: dict[bytes, bytes], action: str, kinds: frozenset[bytes] = PREDICT_KINDS, asked: re.Match[str] | None = None
    ) -> Endpoint:
        """Everything that is checked before a body is read."""
        posts(scope, headers)
        endpoint = self._named(asked) if asked else self._ready()
        key = endpoint.place.predict_key if action == "predict" else endpoint.place.feedback_key
        if key:
            allow(headers, action, key)
        self.most = self.most or largest(endpoint.models.contract, endpoint.models.max_rows)
        takes(headers, kinds, self.most)
        return endpoint

    async def _livez(self, scope: Scope, _: dict[bytes, bytes], __: Receive) -> Reply:
        gets(scope)
        return Reply(b'{"alive":true}')

    async def _readyz(self, scope: Scope, _: dict[bytes, bytes], __: Receive) -> Reply:
        gets(scope)
        self._able(self._ready())
        return Reply(b'{"ready":true}')

    async def _metrics(self, scope: Scope, _: dict[bytes, bytes], __: Receive) -> Reply:
        gets(scope)
        return Reply(self._ready().metrics.render(), kind=TEXT)

    async def _docs(self, scope: Scope, _: dict[bytes, bytes], __: Receive) -> Reply:
        gets(scope)
        endpoint = self._ready()
        self.document = self.document or render(endpoint)
        return Reply(self.document)

    async def _v2_server(self, scope: Scope, _: dict[bytes, bytes], __: Receive) -> Reply:
        gets(scope)
        return Reply(orjson.dumps(SERVER))

    def _ready(self) -> Endpoint:
        endpoint = self.endpoint()
        if endpoint is None or not endpoint.ready:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", "The model is not loaded yet, or not any more.")
        return endpoint

    def _able(self, endpoint: Endpoint) -> None:
        """Refuse while a model that was ready cannot score."""
        if endpoint.scorer.scores.down:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", "The model's process does not start again; the server's log says why.")
