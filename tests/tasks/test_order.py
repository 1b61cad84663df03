"""An order says what differs from the spec, and only that."""

import pytest
from pydantic import ValidationError

from tasks.order import TrainingSettings


def test_a_reason_alone_is_no_new_setting() -> None:
    told = TrainingSettings(reason="try again", approver="operator")

    assert not told.differs()
    assert told.changed() == {"reason": "try again", "approver": "operator"}


def test_another_seed_budget_or_trial_number_is_a_new_setting() -> None:
    assert TrainingSettings(seed=0).differs(), "0 is a seed like any other"
    assert TrainingSettings(trials=3).differs()
    assert TrainingSettings(rows=500).differs()
    assert not TrainingSettings().differs()


@pytest.mark.parametrize("wrong", [{"trials": -1}, {"trials": 5_000}, {"seed": -2}, {"trails": 3}])
def test_nonsense_is_refused_by_the_form(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        TrainingSettings.model_validate(wrong)
