"""Labels from the caller to the join: any batch may be sent late, again, in any order or of ids that nobody answered, and the truth comes out."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from bentos.runtime.endpoint import Endpoint
from bentos.runtime.guards import Guard
from bentos.runtime.ids import Uuid7
from tasks.monitoring.log import Logs, read
from tasks.spec import Gate, Label, ModelSpec, Monitoring

MAY = ["2013-05-01T00:00:00Z", "2013-05-02T00:00:00Z", "2013-05-03T00:00:00+02:00"]
Logged = Callable[[str], list[dict[str, Any]]]


@dataclass
class Service:
    """The endpoint as its callers see it, and what monitoring makes of its logs."""

    endpoint: Endpoint
    log: Path

    def post(self, path: str, body: object) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(Guard(Starlette(), lambda: self.endpoint))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.post(path, json=body)

        return asyncio.run(ask())

    def answered(self, row: dict[str, Any], rows: int = 3) -> list[str]:
        """The ids of answered rows, which differ in nothing."""
        asked = {"rows": [row | {"event_time": "2013-04-30T12:00:00Z"}] * rows}
        return [answer["id"] for answer in self.post("/predict", asked).json()["answers"]]

    def labels(self, *labels: tuple[str, bool, str]) -> None:
        """Send a batch of ids with label and time; it must be taken."""
        reply = self.post("/feedback", {"labels": [{"id": name, "label": label, "time": time} for name, label, time in labels]})
        assert (reply.status_code, reply.json()) == (202, {"accepted": len(labels)})

    def joined(self) -> Logs:
        contract = self.endpoint.models.contract
        spec = ModelSpec(
            name=contract.name,
            folder=self.log,
            dataset="flights",
            task="binary",
            label=Label(column="delay", above=15),
            features=contract.features,
            gate=Gate(metric="roc_auc"),
            monitoring=Monitoring(window="month"),
        )
        return read(self.log, spec, timedelta(days=1), [])

    def truth(self) -> dict[str, float | None]:
        """The label of each answered row, None while unknown."""
        answers = self.joined().answers
        return {name: None if label != label else label for name, label in zip(answers["id"], answers["label"], strict=True)}


@pytest.fixture
def service(endpoint: Callable[..., Endpoint], tmp_path: Path) -> Service:
    return Service(endpoint(), tmp_path / "log" / "tiny_binary")


def test_the_label_with_the_newest_time_wins_in_whatever_order_batches_come_and_all_of_them_are_kept(
    service: Service, row: dict[str, Any], logged: Logged
) -> None:
    first, second, third = service.answered(row)

    service.labels((first, True, MAY[1]), (second, False, MAY[0]))
    service.labels((second, True, MAY[2]), (first, False, MAY[0]), (third, True, MAY[0]))
    service.labels((third, False, MAY[1]), (third, True, MAY[2]), (third, False, MAY[0]))

    assert service.truth() == {first: 1.0, second: 1.0, third: 1.0}
    history = [(line["id"], line["label"]) for line in logged("feedback")]
    assert [label for name, label in history if name == third] == [True, False, True, False]
    assert len(history) == 8


def test_a_batch_that_is_sent_again_changes_nothing(service: Service, row: dict[str, Any], logged: Logged) -> None:
    first, second, third = service.answered(row)
    batch = [(first, True, MAY[1]), (second, False, MAY[1])]
    service.labels(*batch)
    service.labels((first, False, MAY[2]))
    before = service.joined()

    for again in (batch, batch[::-1], batch + batch[:1]):
        service.labels(*again)

    after = service.joined()
    assert before.answers.equals(after.answers)
    assert service.truth() == {first: 0.0, second: 0.0, third: None}
    assert (after.unknown, after.unreadable) == (0, 0)
    assert len(logged("feedback")) == 10


def test_ids_that_nobody_answered_are_taken_counted_and_set_aside(service: Service, row: dict[str, Any]) -> None:
    known, *_ = service.answered(row)
    strangers = [Uuid7()() for _ in range(2)]

    service.labels((strangers[0], True, MAY[0]), (known, True, MAY[0]), (strangers[1], False, MAY[0]))

    assert service.joined().unknown == 2
    assert service.truth()[known] == 1.0
    assert set(strangers).isdisjoint(service.truth())


def test_a_label_may_be_there_before_its_prediction(service: Service, row: dict[str, Any], tmp_path: Path) -> None:
    """The segment of another process may be shipped later than the label of one of its rows."""
    first, *_ = service.answered(row)
    (segment,) = (service.log / "predictions").iterdir()
    elsewhere = segment.rename(tmp_path / segment.name)
    service.labels((first, True, MAY[1]))
    early = service.joined()

    elsewhere.rename(segment)

    assert len(early.answers) == 0
    assert service.truth()[first] == 1.0
    assert service.joined().unknown == 0


def test_a_label_without_a_time_is_of_now_and_so_the_newest(service: Service, row: dict[str, Any]) -> None:
    first, *_ = service.answered(row)
    service.labels((first, False, MAY[2]))

    assert service.post("/feedback", {"labels": [{"id": first, "label": True}]}).status_code == 202

    service.labels((first, False, MAY[1]))
    assert service.truth()[first] == 1.0


def test_a_batch_with_one_wrong_label_is_refused_whole(service: Service, row: dict[str, Any], logged: Logged) -> None:
    first, second, _ = service.answered(row)

    reply = service.post("/feedback", {"labels": [{"id": first, "label": True}, {"id": second, "label": "late"}]})

    assert reply.status_code == 400
    assert [field["path"] for field in reply.json()["error"]["fields"]] == ["labels.1.label"]
    assert logged("feedback") == []
    assert set(service.truth().values()) == {None}
