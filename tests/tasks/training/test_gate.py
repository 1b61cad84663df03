"""The gate opens for what is better, surely, and for nothing else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from tasks.spec import ModelSpec
from tasks.training.gate import Rivals, judge
from tasks.training.metrics import Array

Specs = Callable[..., ModelSpec]


def later(rows: int = 2000, days: int = 20, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    times = pd.Timestamp("2024-02-01") + pd.to_timedelta(np.repeat(np.arange(days), rows // days), unit="D")
    truth = rng.normal(size=rows) + np.repeat(rng.normal(scale=0.5, size=days), rows // days)
    label = (rng.random(rows) < 1 / (1 + np.exp(-truth))).astype("float64")
    return pd.DataFrame({"x": rng.normal(size=rows), "city": rng.choice(["ams", "oslo"], rows), "event_time": times, "label": label, "truth": truth})


def guess(frame: pd.DataFrame, error: float, seed: int, day_error: float = 0.0) -> Array:
    """Scores of a model that knows the truth up to an error of its own, part of which it makes on whole days."""
    rng = np.random.default_rng(seed)
    days = pd.factorize(frame["event_time"])[0]
    wrong = rng.normal(scale=error, size=len(frame)) + rng.normal(scale=day_error, size=days.max(initial=0) + 1)[days]
    return np.asarray(1 / (1 + np.exp(-(frame["truth"] + wrong))))


def rivals(frame: pd.DataFrame, challenger: Array, champion: Array | None) -> Rivals:
    return Rivals(challenger, champion, guess(frame, 3.0, 98), np.full(len(frame), 0.5))


def test_a_truly_better_model_is_accepted_with_numbers_in_the_reason(spec: Specs) -> None:
    frame = later()

    result = judge(frame, rivals(frame, guess(frame, 0.3, 1), guess(frame, 2.0, 2)), spec(), "20240101-aaaaaaaa")

    assert result.accepted
    assert result.gain is not None
    assert result.gain[0] > 0.05
    assert set(result.scores) == {"challenger", "champion", "simple", "trivial"}
    assert "2,000 later rows (20 day blocks)" in result.reasons[0]
    assert result.champion == "20240101-aaaaaaaa"


def test_without_a_champion_the_trivial_model_is_to_be_beaten(spec: Specs) -> None:
    frame = later()

    assert judge(frame, rivals(frame, guess(frame, 1.0, 1), None), spec()).accepted
    assert not judge(frame, rivals(frame, np.random.default_rng(1).random(len(frame)), None), spec()).accepted


def test_a_worse_an_equal_and_a_barely_better_model_are_refused(spec: Specs) -> None:
    frame, champion = later(), guess(later(), 1.0, 2)

    worse, equal = (judge(frame, rivals(frame, scores, champion), spec(), "v1") for scores in (guess(frame, 2.0, 1), champion))
    barely = judge(frame, rivals(frame, guess(frame, 0.7, 1), champion), spec(gate={"min_effect": 0.2}), "v1")

    assert "not surely better than the champion" in worse.reasons[0]
    assert "must exceed 0" in equal.reasons[0]
    assert "must exceed 0.2" in barely.reasons[0]
    assert not any(result.accepted for result in (worse, equal, barely))


def test_retraining_by_the_same_recipe_is_promoted_no_more_often_than_stated(spec: Specs) -> None:
    """A/A: both models have errors of one kind, on rows and on whole days, so neither is better. Stated: 5 %."""
    tries, few_days = 240, spec(gate={"draws": 200})

    promoted = 0
    for seed in range(tries):
        frame = later(rows=400, days=10, seed=seed)
        first, second = (guess(frame, 0.7, 1_000 * part + seed, day_error=0.5) for part in (1, 2))
        promoted += judge(frame, rivals(frame, first, second), few_days.model_copy(update={"seed": seed}), "v1").accepted

    assert promoted / tries <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / tries), f"{promoted} of {tries}"


def test_a_model_that_is_better_on_the_whole_and_worse_on_a_slice_is_refused(spec: Specs) -> None:
    frame = later()
    challenger = np.where(frame["city"] == "oslo", guess(frame, 2.5, 1), guess(frame, 0.05, 3))

    result = judge(frame, rivals(frame, challenger, guess(frame, 1.5, 2)), spec(slices=("city",)), "v1")

    assert not result.accepted
    assert "worse on slice city=oslo" in result.reasons[0]
    assert set(result.slices) == {"city=ams", "city=oslo"}
    assert judge(frame, rivals(frame, challenger, guess(frame, 1.5, 2)), spec(), "v1").accepted, "without the slice it would have passed"


def test_small_slices_are_not_judged_numbers_are_cut_into_quarters_and_nulls_are_a_slice(spec: Specs) -> None:
    frame = later()
    frame.loc[:9, "city"] = "rome"
    frame["x"] = frame["x"].where(frame.index % 4 > 0)

    found = judge(frame, rivals(frame, guess(frame, 0.3, 1), guess(frame, 2.0, 2)), spec(slices=("city", "x"), gate={"slice_min_rows": 100}), "v1").slices

    assert "city=rome" not in found
    assert len([name for name in found if name.startswith("x=(")]) == 4
    assert found["x=missing"][0] == 500


def test_what_cannot_be_computed_is_refused_with_the_reason(spec: Specs) -> None:
    frame = later()
    good, bad = guess(frame, 0.3, 1), guess(frame, 2.0, 2)

    def why(rows: pd.DataFrame, challenger: Array = good, champion: Array = bad, **gate: Any) -> str:
        result = judge(rows, rivals(rows, challenger[: len(rows)], champion[: len(rows)]), spec(gate=gate), "v1")
        assert not result.accepted
        assert result.model_validate_json(result.model_dump_json()) == result, "the ledger can hold it"
        return "; ".join(result.reasons)

    assert "only 90 rows" in why(frame.head(90))
    assert "0 day blocks" in why(frame.head(0))
    assert "4 day blocks" in why(frame.head(400))
    assert "one class only" in why(frame.assign(label=1.0))
    assert "of the challenger model on the later rows is not a number" in why(frame, challenger=np.where(frame.index == 3, np.nan, good))
    assert "of the champion model" in why(frame, champion=np.full(len(frame), np.nan))
    one_day = frame.assign(label=(frame["event_time"] == frame["event_time"].min()).astype("float64"))
    assert "could not be computed in" in why(one_day)


def test_a_leak_refuses_whatever_the_numbers_say(spec: Specs) -> None:
    frame = later()

    result = judge(frame, rivals(frame, guess(frame, 0.1, 1), guess(frame, 2.0, 2)), spec(), "v1", leaks=["feature 'paid' alone explains the label"])

    assert not result.accepted
    assert "paid" in result.reasons[0]


def test_a_memorising_nearest_neighbour_does_not_beat_a_model_that_has_learned(spec: Specs) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    every = later(rows=4000, days=40)
    columns = every[["truth"]].to_numpy() + np.random.default_rng(0).normal(scale=0.3, size=(4000, 1))
    memory, learned = (model.fit(columns[:2000], every["label"][:2000]) for model in (KNeighborsClassifier(1), LogisticRegression()))
    assert memory.score(columns[:2000], every["label"][:2000]) == 1.0, "it knows its training rows by heart"

    frame = every[2000:].reset_index(drop=True)
    asked = [model.predict_proba(columns[2000:])[:, 1] for model in (memory, learned)]

    assert not judge(frame, rivals(frame, *asked), spec(), "v1").accepted
