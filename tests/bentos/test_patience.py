"""A limit that is looked at now and then ends what waits too long, and nothing else."""

import asyncio

import pytest

from bentos.runtime.patience import Patience


async def waiting(patience: Patience, seconds: float) -> str:
    try:
        with patience:
            await asyncio.sleep(seconds)
    except TimeoutError:
        return "late"
    await asyncio.sleep(0)  # a task that was late once may wait again
    return "in time"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bentos.runtime.patience.EVERY", 0.02)


def test_only_what_waits_too_long_is_ended() -> None:
    async def both() -> list[str]:
        patience = Patience(0.5)  # more than a busy machine may hold a loop up
        return [*await asyncio.gather(waiting(patience, 0.01), waiting(patience, 5)), await waiting(patience, 0.01), await waiting(patience, 5)]

    assert asyncio.run(both()) == ["in time", "late", "in time", "late"]


def test_it_serves_one_loop_after_another() -> None:
    patience = Patience(0.1)

    assert [asyncio.run(waiting(patience, 5)) for _ in range(2)] == ["late", "late"]


def test_a_cancelled_task_is_cancelled_and_not_late() -> None:
    async def cancelled() -> bool:
        task = asyncio.create_task(waiting(Patience(5), 5))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(cancelled())
