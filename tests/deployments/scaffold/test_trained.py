"""What `ratchet new` writes goes all the way: ingested, trained, accepted by the gate, packed into a bento, and answering in a throw-away server."""

from pathlib import Path

import hosting
import pytest
from strangers import Made

from tasks.data import snapshot
from tasks.data.ingest import ingest_batch
from tasks.ledger.chain import Ledger
from tasks.release.package import build
from tasks.release.preflight import preflight
from tasks.settings import Settings
from tasks.store import Ref, Store
from tasks.training.candidate import Candidate
from tasks.training.job import training_job
from tasks.training.stages import make_candidate


def trained(made: Made, name: str, settings: Settings) -> Candidate:
    """A candidate from the model's first batch, with nothing to beat but the trivial model."""
    spec, store, ledger = made.project.model(name), Store.of(settings), Ledger.of(settings)
    dataset, pipeline = made.project.dataset(spec.dataset), made.project.pipeline(name)
    assert ingest_batch(dataset, dataset.first[0], "", store, ledger).verdict == "accepted"
    taken = snapshot.take(ledger.read(), dataset, store)
    raw = snapshot.rows(taken, dataset, store)
    job = training_job(spec, lambda asked: snapshot.training_frame(raw, dataset, asked, pipeline.features), taken.ref, made.project, store)
    return make_candidate(job, None)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "linear"), [("scaf_churn", None), ("scaf_grade", None), ("scaf_rent", True)])
def test_a_model_of_each_kind_is_accepted_and_answers(made: Made, tmp_path: Path, name: str, linear: bool | None) -> None:
    settings = Settings(project=made.root, home=tmp_path / "home")
    settings.home.mkdir()

    candidate = trained(made, name, settings)
    spec, version = made.project.model(name), candidate.fitted.version
    artefact = Store.of(settings).get_tree(Ref.parse(str(candidate.fitted.artefact)), tmp_path / "artefact")
    bento = build(spec, artefact, version, made.project, tmp_path / "bento")

    assert candidate.gate.accepted, candidate.gate.reasons
    assert candidate.fitted.format == "onnx", candidate.fitted.parity
    assert [trial.error for trial in candidate.trials if trial.error] == []
    if linear:
        assert candidate.fitted.family in {"simple", "linear"}, "a truly linear question is answered by a linear model"
    preflight(hosting.release(bento).model_copy(update={"model": name}), bento, spec, settings)
