"""The preflight takes a version that is as it must be, and names what is wrong with any other."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hosting
import pytest

from bentos.runtime.card import Card
from bentos.runtime.contract import Contract, Feature
from bentos.runtime.digest import artefact_in
from tasks.errors import ReleaseError
from tasks.release.preflight import bad_requests, distance, preflight


def change_service(bento: Path, code: str) -> None:
    """Add code to the end of the bento's service.py."""
    service = bento / "src" / "bentos" / "toy" / "service.py"
    service.write_text(service.read_text() + code)


def forget_golden_rows(bento: Path) -> None:
    card = Card.load(artefact_in(bento))
    card.model_copy(update={"golden": ()}).save(artefact_in(bento))


def expect_other_scores(bento: Path) -> None:
    """The card and the server's own check agree, but the model gives other scores to callers."""
    change_service(bento, "from bentos.runtime.scoring import Scorer\nScorer.decide = lambda self, score: score\n")
    change_service(bento, "from bentos.runtime.endpoint import Endpoint\nEndpoint.warm_up = lambda self: setattr(self, 'ready', True)\n")
    card = Card.load(artefact_in(bento))
    card.model_copy(update={"golden": tuple(golden.model_copy(update={"score": golden.score + 0.01}) for golden in card.golden)}).save(artefact_in(bento))  # type: ignore[operator]


def break_sample(bento: Path) -> None:
    (bento / "src" / "bentos" / "toy" / "sample.json").write_text('{"rows": [{"x": 1, "size": 3}]}')


def accept_anything(bento: Path) -> None:
    change_service(
        bento,
        """
from bentos.runtime import rows
rows.STRICT.update(extra="ignore")
Toy = service_of(Path(__file__).with_name("model.toml"))
""",
    )


def refuse_in_another_shape(bento: Path) -> None:
    change_service(bento, "from bentos.runtime.errors import Refused\nRefused.body = property(lambda self: b'{\"detail\": []}')\n")


def log_nothing(bento: Path) -> None:
    change_service(bento, "from bentos.runtime.log import LogWriter\nLogWriter.append = lambda self, lines: None\n")


def die_on_a_request(bento: Path) -> None:
    change_service(bento, "from bentos.runtime.endpoint import Endpoint\nimport os\nEndpoint.predict = lambda self, body: os._exit(9)\n")


def test_a_version_that_is_as_it_must_be_passes_and_leaves_no_line_in_the_log(tmp_path: Path) -> None:
    bento = hosting.bento(1.0)
    settings = hosting.settings(tmp_path, predict_key="secret")

    with ThreadPoolExecutor() as threads:  # Prefect runs a task in a thread
        threads.submit(preflight, hosting.release(bento), bento, hosting.spec(), settings).result()

    assert not settings.logs.exists()


def hash_colours(bento: Path) -> None:
    """As a model whose `colour` is personal is packed."""
    toml, folder = bento / "src" / "bentos" / "toy" / "model.toml", artefact_in(bento)
    toml.write_text(toml.read_text().replace("nullable = true }", 'nullable = true, log = "hash" }'))
    Card.load(folder).model_copy(update={"contract": Contract.load(toml)}).save(folder)


def test_a_version_that_logs_hashes_is_tried_with_a_key(tmp_path: Path) -> None:
    bento = hosting.copy(hosting.bento(1.0), tmp_path / "bento").path
    hash_colours(bento)

    preflight(hosting.release(bento), bento, hosting.spec(), hosting.settings(tmp_path / "home"))


def test_without_a_key_it_does_not_start_and_says_why(tmp_path: Path) -> None:
    bento = hosting.copy(hosting.bento(1.0), tmp_path / "bento").path
    hash_colours(bento)
    change_service(bento, "import os\nos.environ['RATCHET_HASH_KEY'] = ''\n")  # as in a pod whose secret lacks it

    with pytest.raises(ReleaseError, match=r"ValueError: 'toy' logs colour as keyed hashes, and RATCHET_HASH_KEY is not set: set it"):
        preflight(hosting.release(bento), bento, hosting.spec(), hosting.settings(tmp_path / "home"))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (forget_golden_rows, "its card has none"),
        (expect_other_scores, r"golden row 0: it scores 2.0, expected 2.01 \(off by 0.005"),
        (break_sample, "sample.json: refused with 400"),
        (accept_anything, "an unknown field gave 200, expected 400"),
        (refuse_in_another_shape, "another shape than the documented one"),
        (log_nothing, "5 rows were answered and 0 are in the log"),
        (die_on_a_request, "golden row 0: no reply: RemoteProtocolError"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_wrong_with_a_version_is_named(change: Callable[[Path], None], found: str, tmp_path: Path) -> None:
    bento = hosting.copy(hosting.bento(1.0), tmp_path / "bento").path
    change(bento)

    with pytest.raises(ReleaseError, match=found):
        preflight(hosting.release(bento), bento, hosting.spec(), hosting.settings(tmp_path / "home"))


def test_a_release_of_another_version_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    bento = hosting.bento(1.0)
    release = hosting.release(bento).model_copy(update={"version": "20130101-other"})

    with pytest.raises(ReleaseError, match="the release names '20130101-other'"):
        preflight(release, bento, hosting.spec(), hosting.settings(tmp_path))


def test_a_tampered_bento_is_refused(tmp_path: Path) -> None:
    toy = hosting.copy(hosting.bento(1.0), tmp_path / "bento")
    change_service(toy.path, "\n")

    with pytest.raises(ReleaseError, match="the bento at .* has digest"):
        preflight(toy.release, toy.path, hosting.spec(), hosting.settings(tmp_path / "home"))


def test_bad_requests_fit_any_contract() -> None:
    contract = Contract(name="n", task="binary", features={"a": Feature(type="category", nullable=True), "b": Feature(type="boolean", nullable=True)})

    requests = dict(bad_requests(contract, {"a": "x", "b": True}))

    assert len(requests) == 4, "nothing is required and nothing is a number here"
    assert all(json.loads(body)["rows"] != [{"a": "x", "b": True}] for body in requests.values())


def test_scores_of_another_kind_are_infinitely_far() -> None:
    assert distance(0.5, 0.5) == 0
    assert distance(1001.0, 1000.0) == pytest.approx(0.001)
    assert distance([0.2, 0.8], [0.2, 0.7]) == pytest.approx(0.1)
    assert distance(None, 0.5) == distance([0.5], 0.5) == distance([0.5], [0.5, 0.5]) == float("inf")
