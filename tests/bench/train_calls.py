"""The calls of the train flow without Prefect, in a fresh interpreter: the peer that train_overhead.py holds the flow against."""

import io
import json
import sys
import time

started = time.perf_counter()  # before the imports: they are part of both sides

from pathlib import Path  # noqa: E402
from tempfile import TemporaryDirectory  # noqa: E402

import pandas as pd  # noqa: E402

from tasks.data import snapshot as snapshots  # noqa: E402
from tasks.governance import pursuit  # noqa: E402
from tasks.governance.decision import propose  # noqa: E402
from tasks.installation import Installation  # noqa: E402
from tasks.ledger.questions import champion  # noqa: E402
from tasks.ledger.rows import ProposalRow  # noqa: E402
from tasks.monitoring.thresholds import calibrate  # noqa: E402
from tasks.release.package import build  # noqa: E402
from tasks.training.candidate import candidate  # noqa: E402
from tasks.training.job import training_job  # noqa: E402
from tasks.training.stages import fit_stage, gate_stage, search_stage  # noqa: E402


def main(model: str) -> None:
    """Train once, as an order of its own, and print the seconds."""
    here = Installation.of()
    spec = here.project.model(model)
    decision = propose(here.ledger, spec, ProposalRow(model=model, trigger="on_demand", reason="benchmark")).decision
    pursuit.grant(here.ledger, spec, decision, 0, pursuit.now_utc(), 900)
    dataset = here.project.dataset(spec.dataset)
    snapshot = snapshots.take(here.ledger.read(), dataset, here.store)
    job = training_job(spec, snapshots.frames_of(snapshot, dataset, here.project, here.store), snapshot.ref, here.project, here.store)
    found = search_stage(job)
    fitted = fit_stage(job, found)
    gate = gate_stage(job, fitted, champion(here.ledger.read(), model))
    thresholds = calibrate(pd.read_parquet(io.BytesIO(here.store.get(fitted.reference))), spec.contract, spec.monitoring, spec.seed)
    bento = None
    if gate.accepted:
        with TemporaryDirectory() as temporary:
            files = here.store.get_tree(fitted.artefact, Path(temporary) / "artefact")
            bento = here.store.put_tree(build(spec, files, fitted.version, here.project, Path(temporary) / "bento"))
    pursuit.register(here.ledger, candidate(job, found, fitted, gate).row(1, decision, bento=bento, thresholds=thresholds))
    print(json.dumps({"seconds": time.perf_counter() - started, "accepted": gate.accepted}))


main(sys.argv[1])
