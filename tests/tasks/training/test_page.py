"""What people read of a training: verdict first, every reason, every trial, nothing that breaks the table."""

from factories import version

from tasks.ledger.rows import GateResult
from tasks.training.page import gate_markdown, gate_sentence, model_card
from tasks.training.search import SearchResult, TrialResult

REFUSED = GateResult(
    accepted=False,
    reasons=("not surely better than the champion", "worse on slice origin=EWR"),
    metric="roc_auc",
    rows=9_000,
    blocks=10,
    champion="v1",
    scores={"challenger": 0.48, "champion": 0.7},
    gain=(-0.25, -0.2, -0.15),
    slices={"origin=EWR": (3_000, 0.47, 0.7)},
)


def test_the_card_says_the_verdict_and_how_many_reasons_there_are() -> None:
    assert gate_sentence(REFUSED) == "❌ refused: not surely better than the champion (and 1 more reasons)"


def test_the_page_holds_each_reason_score_and_slice() -> None:
    page = gate_markdown(version("late-1").model_copy(update={"gate": REFUSED}))

    for wanted in ("- worse on slice origin=EWR", "| champion | 0.7000 |", "| origin=EWR | 3,000 | 0.4700 | 0.7000 |", "-0.2000 (from -0.2500 to -0.1500)"):
        assert wanted in page


def test_the_model_card_names_data_code_and_trials_also_failed_ones() -> None:
    trials = (TrialResult(number=0, family="boosting", params={"family": "boosting", "depth": 3}, value=0.7), TrialResult(number=1, error="a | b\nc"))
    found = SearchResult(family="boosting", params={}, trials=trials, metric="roc_auc", simple=0.69, reason="boosting is better")

    row = version("late-1").model_copy(update={"parity": "ONNX equals scikit-learn on 300 hold-out and 95 hard rows (largest difference 1e-07, allowed 0.01)"})
    card = model_card(row, found)

    assert "| 0 | boosting | 0.7000 | depth 3 |" in card
    assert "failed: a \\| b c" in card
    assert "| snapshot | s |" in card
    assert "| served as | onnx: ONNX equals scikit-learn on 300 hold-out and 95 hard rows (largest difference 1e-07, allowed 0.01) |" in card
